"""The price port as an HTTP/1.1 server: the workers' side and the ASGI side behind one address."""

import json
import re
import socket
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

Server = Any
"""`Running` of conftest.py."""


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", answer)]


def get(server: Server, path: str, *extra: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", f"X-API-Key: {server.key}", *extra, "", ""]).encode()


@pytest.mark.parametrize("path", ["/price?asset=BTC", "/price?asset=%42TC", "/price?other=1&asset=btc"])
def test_a_price_by_either_side(server: Server, path: str) -> None:
    status, headers, body = server.http("GET", path)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert int(headers["content-length"]) == len(body)
    told = json.loads(body)
    assert (told["asset"], told["tier"]) == ("BTC", 1)
    assert "id" not in told


SAME = [
    "/price",
    "/price?asset=",
    "/price?asset=NOPE",
    "/price?asset=BTC&exchange=nyse",
    "/price?asset=BTC&exchange=",
    "/price?asset=BTC&max_age_ms=x",
    "/price?asset=BTC&allow_stale=1",
    "/prices",
    "/prices?assets=",
    "/prices?assets=NOPE,ALSO",
    "/prices?assets=" + ",".join(["A"] * 31),
]


@pytest.mark.parametrize("key", ["demo", "tb_wrong", None])
@pytest.mark.parametrize("path", SAME)
def test_both_sides_answer_the_same(server: Server, path: str, key: str | None) -> None:
    plain = server.http("GET", path, key=key)
    # An unknown parameter is nothing that the workers recognise.
    handed_over = server.http("GET", path + ("&" if "?" in path else "?") + "x=%20", key=key)
    assert plain[0] == handed_over[0]
    assert plain[2] == handed_over[2]
    ignored = {"date", "connection"}
    assert {n: v for n, v in plain[1].items() if n not in ignored} == {
        n: v for n, v in handed_over[1].items() if n not in ignored
    }


@pytest.mark.parametrize("path", ["/price?asset=BTC", "/price?asset=%42TC"])
@pytest.mark.parametrize("header", ["X-API-Key:KEY", "x-api-key:\t KEY \t", "AUTHORIZATION:  bearer  KEY  "])
def test_white_space_around_a_key_is_no_part_of_it(server: Server, path: str, header: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\n{header.replace('KEY', server.key)}\r\n\r\n"
    assert statuses(server.raw(head.encode(), done=True)) == [200]


def test_posting_a_list(server: Server) -> None:
    status, _, body = server.http("POST", "/prices", body=b'{"assets":["BTC","NOPE"]}')
    assert status == 200
    first, second = json.loads(body)["prices"]
    assert first["asset"] == "BTC"
    assert second["error"] == "unknown_asset"
    status, _, body = server.http("POST", "/prices", body=b'{"assets":"BTC"}')
    assert (status, json.loads(body)["error"]) == (400, "bad_request")


def test_head(server: Server) -> None:
    status, headers, body = server.http("HEAD", "/price?asset=BTC")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 100


def test_keep_alive_over_both_sides(server: Server) -> None:
    """One connection: the workers answer, hand over in the middle, and the ASGI side goes on."""
    hot, cold = get(server, "/price?asset=BTC"), get(server, "/assets")
    answer = server.raw(hot + hot + cold + hot + cold + hot, done=True)
    assert statuses(answer) == [200] * 6


def test_pipelined_requests_in_one_segment(server: Server) -> None:
    answer = server.raw(get(server, "/price?asset=BTC") * 50, done=True)
    assert statuses(answer) == [200] * 50


def test_a_request_in_single_bytes(server: Server) -> None:
    for path in ("/price?asset=BTC", "/exchanges"):
        with socket.create_connection(("127.0.0.1", server.ports["http"]), timeout=5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in get(server, path):
                sock.sendall(bytes([byte]))
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "head",
    [
        "POST /prices HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /price?asset=BTC HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "GET /price?asset=BTC HTTP/1.1\r\n\r\n",
        "GET /price?asset=BTC HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GARBAGE\r\n\r\n",
    ],
)
def test_ambiguous_or_broken_requests_are_refused_and_closed(server: Server, head: str) -> None:
    with socket.create_connection(("127.0.0.1", server.ports["http"]), timeout=5) as sock:
        sock.sendall(head.encode() + get(server, "/price?asset=BTC"))
        got = b""
        while part := sock.recv(65536):
            got += part
    assert statuses(got) == [400]


@pytest.mark.parametrize("line", ["GET /price?asset=BTC", "GET /price?asset=BTC HTTP/2.0", "GET /assets HTTP/2.0"])
def test_another_version_of_http_is_refused_and_closed(server: Server, line: str) -> None:
    answer = server.raw(f"{line}\r\nHost: x\r\nX-API-Key: {server.key}\r\n\r\n".encode())
    assert statuses(answer) == [505]


def test_a_head_without_end_is_refused(server: Server) -> None:
    answer = server.raw(b"GET /price?asset=BTC HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 100_000)
    assert statuses(answer) == [431]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/price", 405, "method_not_allowed"),
        ("POST", "/price", 405, "method_not_allowed"),
        ("GET", "/admin/status", 401, "unauthorized"),
        ("GET", "/admin/nothing", 401, "unauthorized"),
        ("DELETE", "//admin///nothing", 401, "unauthorized"),
    ],
)
def test_everything_else(server: Server, method: str, path: str, status: int, code: str) -> None:
    found, headers, body = server.http(method, path)
    assert (found, json.loads(body)["error"]) == (status, code)
    assert ("allow" in headers) == (status == 405)


def test_the_public_pages(server: Server) -> None:
    _, _, exchanges = server.http("GET", "/exchanges", key=None)
    names = {each["name"] for each in json.loads(exchanges)["exchanges"]}
    assert {"coinbase", "gemini", "kraken", "gateio", "cryptocom", "okx"} <= names
    status, _, assets = server.http("GET", "/assets", key=None)
    assert status == 200
    assert "BTC" in {each["asset"] for each in json.loads(assets)["assets"]}
    status, _, description = server.http("GET", "/openapi.json", key=None)
    assert "/price" in json.loads(description)["paths"]
    status, headers, _ = server.http("GET", "/docs", key=None)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_health_has_its_own_port(server: Server) -> None:
    for path in ("/health/live", "/health/ready"):
        assert server.http("GET", path, port="health", key=None)[0] == 200
        assert server.http("GET", path, key=None)[0] == 404


def test_requests_are_accounted_for(server: Server) -> None:
    def counters() -> dict[str, int]:
        _, _, body = server.http("GET", "/admin/status", X_Admin_Key=server.ready["admin_key"])
        return json.loads(body)["counters"]  # type: ignore[no-any-return]

    before = counters()
    for path in ("/price?asset=BTC", "/price?asset=%42TC", "/price?asset=NOPE", "/price?asset=NO%50E"):
        server.http("GET", path)
    server.udp({"asset": "BTC"})
    after = counters()
    grown = {name: after[name] - before[name] for name in after}
    assert (grown["tcp_requests"], grown["http_answered"], grown["http_refused"]) == (4, 2, 2)
    assert (grown["udp_requests"], grown["udp_answered"], grown["udp_packets_sent"]) == (1, 1, 1)
    assert grown["usage_lost"] == 0
