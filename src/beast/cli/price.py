"""beast price: one question to a running server, by HTTP or UDP."""

import json
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from beast.base.errors import EXIT_FAILED, BeastError
from beast.cli.common import Target, exact, find_target, http_get, print_json

UDP_TRIES = 3
UDP_WAIT_S = 1.0
ROOM = 256
"""Bytes: a request that proves no key gets no answer longer than itself, and ours shall tell what is wrong."""

Ask = Callable[[], bytes]

app = App(
    name="price",
    help_epilogue="""Examples:
  beast price BTC
  beast price BTC ETH SOL --exchange kraken
  beast price BTC --udp --watch
  beast price BTC --server http://10.0.0.5:8080 --key tb_...""",
)


@app.default
def price(
    assets: Annotated[list[str], Parameter(name="ASSET", negative=())],
    /,
    *,
    exchange: str | None = None,
    udp: Annotated[bool, Parameter(negative=())] = False,
    watch: Annotated[bool, Parameter(negative=())] = False,
    interval: Annotated[float, Parameter(validator=Number(gte=0.05))] = 1.0,
    server: str | None = None,
    key: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Ask a running server for the latest prices.

    The server and the key are taken from --server and --key, else from BEAST_SERVER and BEAST_API_KEY, else from
    the server that runs on the same home. Exit code 1 when an asset has no price.

    Args:
        assets: What to ask for, 1 to 30 names.
        exchange: Only this exchange may answer.
        udp: Ask by UDP instead of HTTP.
        watch: Keep asking, until Ctrl-C.
        interval: Seconds between two questions of --watch.
        server: HOST, HOST:PORT, http://HOST:PORT or udp://HOST:PORT.
        key: The API key.
        as_json: Print the server's answer as it came.
    """
    target = find_target(server, key)
    with (_by_udp if udp else _by_http)(target, assets, exchange) as ask:
        while True:
            priced = _show(ask(), as_json=as_json)
            if not watch:
                return 0 if priced else EXIT_FAILED
            time.sleep(interval)


def _show(answer: bytes, *, as_json: bool) -> bool:
    """Prints one answer, what failed on stderr; True when every asset has a price."""
    whole = exact(answer)
    entries: list[dict[str, Any]] = whole.get("prices", [whole])
    if as_json:
        print_json(answer)
    else:
        for entry in entries:
            (sys.stderr if "error" in entry else sys.stdout).write(_line(entry) + "\n")
        sys.stdout.flush()
    return all("price" in entry for entry in entries)


def _line(entry: dict[str, Any]) -> str:
    if "error" in entry:
        asset = f"{entry['asset']}: " if "asset" in entry else ""
        last = f" (last {entry['last']['price']})" if "last" in entry else ""
        wait = f" (again in {entry['retry_after_ms']} ms)" if "retry_after_ms" in entry else ""
        return f"beast: {asset}{entry['error']}: {entry.get('message', 'no message')}{last}{wait}"
    return (
        f"{entry['asset']:<6} {entry['price']:>14} {entry['currency']:<5} {entry['exchange']:<10} "
        f"{entry['state']:<5} {entry['age_ms']:>6} ms  {entry['timestamp']}"
    )


@contextmanager
def _by_http(target: Target, assets: list[str], exchange: str | None) -> Iterator[Ask]:
    query = {"asset": assets[0]} if len(assets) == 1 else {"assets": ",".join(assets)}
    if exchange:
        query["exchange"] = exchange
    path = f"/price{'s' if len(assets) > 1 else ''}?{urlencode(query, safe=',')}"
    headers = {"X-API-Key": target.api_key} if target.api_key else {}
    yield lambda: http_get(target, path, headers)[1]


class _Part(msgspec.Struct):
    """One datagram of an answer."""

    id: str
    prices: list[msgspec.Raw] | None = None
    part: int = 1
    parts: int = 1


@contextmanager
def _by_udp(target: Target, assets: list[str], exchange: str | None) -> Iterator[Ask]:
    request: dict[str, object] = {"api_key": target.api_key} if target.api_key else {}
    request |= {"asset": assets[0]} if len(assets) == 1 else {"assets": assets}
    if exchange:
        request["exchange"] = exchange
    try:
        address = socket.getaddrinfo(target.host, target.udp_port, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise BeastError(f"unknown host: {error.strerror}", where=target.host) from error
    with socket.socket(address[0], socket.SOCK_DGRAM) as sock:
        sock.connect(address[4])
        yield lambda: _ask_by_udp(sock, request, f"udp://{target.host}:{target.udp_port}")


def _ask_by_udp(sock: socket.socket, request: dict[str, object], where: str) -> bytes:
    for _ in range(UDP_TRIES):
        # A late answer to an earlier try must not pass for this one's.
        request["id"] = secrets.token_hex(4)
        try:
            sock.send(json.dumps(request).encode().ljust(ROOM))
            return _receive(sock, str(request["id"]))
        except TimeoutError:
            continue
        except OSError as error:
            raise BeastError(f"no answer: {error.strerror}", where=where, todo="is the server running?") from error
    raise BeastError(
        f"no answer within {UDP_TRIES * UDP_WAIT_S:g} s",
        where=where,
        todo="is the server running, and the key right? short requests without a valid key get no answer",
    )


def _receive(sock: socket.socket, request_id: str) -> bytes:
    """The answer, put together from its datagrams; TimeoutError when a part is missing."""
    deadline = time.monotonic() + UDP_WAIT_S
    parts: dict[int, list[msgspec.Raw]] = {}
    while True:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        datagram = sock.recv(65536)
        try:
            part = msgspec.json.decode(datagram, type=_Part)
        except msgspec.DecodeError:
            continue
        if part.id != request_id:
            continue
        if part.prices is None:
            return datagram
        parts[part.part] = part.prices
        if len(parts) == part.parts:
            return msgspec.json.encode({"prices": [entry for _, entries in sorted(parts.items()) for entry in entries]})
