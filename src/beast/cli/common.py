"""How client commands find the running server and ask it."""

import http.client
import json
import os
import sys
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from beast.base.config_sources import load_config
from beast.base.errors import BeastError, UsageError
from beast.engine.presence import find_presence

Side = Literal["prices", "reports"]
PORTS: dict[Side, tuple[str, str]] = {"prices": ("http", "udp"), "reports": ("report_http", "report_udp")}
"""By the names that a server leaves in its home."""
DEFAULT_PORTS: dict[Side, tuple[int, int]] = {"prices": (8080, 2679), "reports": (9090, 2680)}
TIMEOUT_S = 5.0


class Target(msgspec.Struct, frozen=True):
    """Where to ask, and with which keys."""

    host: str
    http_port: int
    udp_port: int
    api_key: str = ""
    admin_key: str = ""

    @property
    def http_address(self) -> str:
        """For messages."""
        return f"http://{self.host}:{self.http_port}"


def find_target(server: str | None, key: str | None, *, side: Side = "prices") -> Target:
    """The server and key: from the command line, else BEAST_SERVER and BEAST_API_KEY, else the home's server.

    Args:
        server: HOST, HOST:PORT, http://HOST:PORT or udp://HOST:PORT.
        key: An API key.
        side: What will be asked for; it has ports of its own.

    Raises:
        UsageError: `server` is no address, or `key` is no key.
        BeastError: no server is named and none runs here.
    """
    named = server or os.environ.get("BEAST_SERVER")
    key = key or os.environ.get("BEAST_API_KEY")
    check_key(key or "", "--key")
    if named:
        return _parse_server(named, key or "", side)
    home = load_config().config.home
    try:
        left = find_presence(home)
    except PermissionError as error:
        raise BeastError("belongs to another user", where=str(home), todo="give --server and --key") from error
    if left is None:
        raise BeastError("no server runs on this home", where=str(home), todo="start one, or give --server")
    http_port, udp_port = (left.ports.get(name) for name in PORTS[side])
    if http_port is None or udp_port is None:
        raise BeastError(f"the server on this home serves no {side}", where=str(home), todo="give --server")
    return Target(left.host, http_port, udp_port, key or left.demo_api_key, left.admin_key)


def check_key(key: str, where: str) -> None:
    """Refuses what can't stand in a header.

    Raises:
        UsageError: it is no key.
    """
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError("is no key: not printable ASCII without spaces", where=where)


def _parse_server(text: str, key: str, side: Side) -> Target:
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname, parts.port
        # What a name must not hold or be is found by the encoding that the resolver uses.
        (host or "").encode("idna")
    except ValueError:
        host, port = None, None
    if not host or not host.isprintable() or " " in host or parts.scheme not in {"", "http", "udp"}:
        raise UsageError(f"{text} is no address", where="--server", todo="HOST, HOST:PORT, http://… or udp://…")
    http_port, udp_port = DEFAULT_PORTS[side]
    if port is not None:
        if parts.scheme != "udp":
            http_port = port
        if parts.scheme != "http":
            udp_port = port
    return Target(host, http_port, udp_port, key, os.environ.get("BEAST_ADMIN_KEY", ""))


def http_get(target: Target, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """(status, body) of one GET.

    Raises:
        BeastError: the server can't be reached or doesn't speak HTTP.
    """
    return _request(target, path, headers)


def _request(
    target: Target, path: str, headers: dict[str, str], body: bytes | None = None, timeout_s: float = TIMEOUT_S
) -> tuple[int, bytes]:
    """A GET; with a body, a POST."""
    connection = http.client.HTTPConnection(target.host, target.http_port, timeout=timeout_s)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise BeastError(
            f"no answer: {error or type(error).__name__}", where=target.http_address, todo="is the server running?"
        ) from error
    finally:
        connection.close()


def admin_get(path: str, server: str | None, admin_key: str | None) -> bytes:
    """The body of one GET under /admin/, of the named server or of the home's.

    Args:
        path: With its query.
        server: As for find_target().
        admin_key: The operator's key; else the target's.

    Raises:
        UsageError: `server` is no address, or the key is no key.
        BeastError: the server can't be reached, or refuses.
    """
    return _ask_admin(path, server, admin_key)


def admin_post(path: str, value: Any, server: str | None, admin_key: str | None, *, timeout_s: float) -> bytes:
    """The same for one POST of a JSON value, whose answer may take some seconds."""
    return _ask_admin(path, server, admin_key, json.dumps(value).encode(), timeout_s)


def _ask_admin(
    path: str, server: str | None, admin_key: str | None, sent: bytes | None = None, timeout_s: float = TIMEOUT_S
) -> bytes:
    target = find_target(server, None)
    admin_key = admin_key or target.admin_key
    check_key(admin_key, "--admin-key")
    status, body = _request(target, path, {"X-Admin-Key": admin_key}, sent, timeout_s)
    if status in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
        return body
    try:
        told = json.loads(body)
        reason = str(told["message"])
    except (ValueError, KeyError, TypeError):
        told, reason = {}, "no reason given"
    todo = "give --admin-key" if status == HTTPStatus.UNAUTHORIZED else ""
    if near := told.get("near"):
        todo = f"did you mean {', '.join(near)}?"
    raise BeastError(f"HTTP {status}: {reason}", where=target.http_address, todo=todo)


def exact(body: bytes) -> Any:
    """JSON with decimals as the text they were sent as: no digit is lost."""
    return json.loads(body, parse_float=str)


def print_json(value: Any) -> None:
    """One line of JSON on stdout; bytes are JSON already."""
    text = value.decode() if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False)
    sys.stdout.write(text.strip() + "\n")
