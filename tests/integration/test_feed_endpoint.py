"""The address of a connection, asked for over HTTP: what is taken, what is refused, and what nobody gets to see."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.fixtures.feeds import House, feed, markets, until

from beast.base.clock import ManualClock
from beast.feeds.link.endpoint import BODY_MAX, Address, Endpoint, EndpointError
from beast.feeds.rows.files import Exchange
from beast.feeds.types import Feed

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TOKEN = "s3cret/token=="


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class Shop:
    """An HTTP server that says the same to everybody, byte for byte."""

    def __init__(self) -> None:
        self.answer = b""
        self.asked: list[bytes] = []
        self.url = ""

    def says(self, body: Any, status: str = "200 OK", *headers: str) -> None:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers]
        self.answer = "\r\n".join(head).encode() + b"\r\n\r\n" + content

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    made = Shop()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
    yield made
    server.close()


def row(**columns: Any) -> Feed:
    base = {
        "ws_url": "{ENDPOINT}?token={TOKEN}&id={UUID}&at={NOW_MS}",
        "token_path": "data.token",
        "endpoint_path": "data.servers.0.url",
        "ping_interval_path": "data.servers.0.ping",
        "ping_template": "ping",
    }
    return feed("", **{**base, **columns})


@pytest.fixture
def find(shop: Shop) -> Callable[..., Awaitable[Address]]:
    tls = ssl.create_default_context()

    def ask(**columns: Any) -> Awaitable[Address]:
        asking = row(**columns)
        endpoint = Endpoint(asking.ws_url, shop.url, clock=ManualClock(), tls=tls)
        return endpoint.find(asking, ["A", "B"])

    return ask


def good(**server: Any) -> Any:
    return {"code": "200000", "data": {"token": TOKEN, "servers": [{"url": "ws://h/x", "ping": 18_000, **server}]}}


async def test_the_answer_makes_the_address(shop: Shop, find: Callable[..., Awaitable[Address]]) -> None:
    shop.says(good())
    address = await find()
    assert address.url.startswith("ws://h/x?token=s3cret%2Ftoken%3D%3D&id=")
    assert address.url.endswith("&at=1776000000000")
    assert address.ping_interval_ms == 18_000
    assert shop.asked[0].startswith(b"POST /token HTTP/1.1\r\n")
    assert address.hide(f"no {TOKEN} at {address.url}").count("***") == 2
    other = await find(token_method="GET")
    assert shop.asked[1].startswith(b"GET ")
    assert other.url != address.url


@pytest.mark.parametrize("ping", [None, "often", 0, 10**9, [1]])
async def test_an_interval_that_can_not_be_meant_is_the_rows(
    shop: Shop, find: Callable[..., Awaitable[Address]], ping: Any
) -> None:
    shop.says(good(ping=ping))
    assert (await find(ping_interval_ms=7_000)).ping_interval_ms == 7_000


async def test_streams_may_stand_in_the_address(shop: Shop, find: Callable[..., Awaitable[Address]]) -> None:
    shop.says(good())
    assert (await find(ws_url="ws://h/{SYMBOLS:/}", token_path="", endpoint_path="")).url == "ws://h/A/B"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (({"code": "429000", "msg": "Too Many Requests"},), "no token at 'data.token' (code=429000, msg=Too Many"),
        (({"data": {"token": 7}},), "no token at 'data.token'"),
        (({"data": {"token": "a b"}},), "no token at"),
        (({"data": {"token": TOKEN}},), "no address at 'data.servers.0.url'"),
        ((good(url="https://h/"),), "does not begin with wss:// or ws://"),
        ((b"<html>", "503 Busy"), "HTTP 503"),
        (({"error": "who?"}, "403 No"), "HTTP 403  (error=who?)"),
        ((good(), "302 Found", "Location: http://127.0.0.1:9/"), "HTTP 302"),
        ((good(), "200 OK", "Content-Encoding: gzip"), "HTTP 200 gzip"),
        ((b" " * (BODY_MAX + 1),), f"longer than {BODY_MAX} bytes"),
        ((b"{" * 1000,), "no token at"),
    ],
)
async def test_an_answer_without_an_address_says_why_and_no_secret(
    shop: Shop, find: Callable[..., Awaitable[Address]], answer: tuple[Any, ...], reason: str
) -> None:
    shop.says(*answer)
    with pytest.raises(EndpointError) as caught:
        await find()
    assert reason in str(caught.value)
    assert TOKEN not in str(caught.value)


async def test_nobody_there(shop: Shop, find: Callable[..., Awaitable[Address]]) -> None:
    shop.answer = b"nonsense\r\n\r\n"
    with pytest.raises(EndpointError, match="no token: "):
        await find()


async def test_the_token_reaches_no_log(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.says(good(url="ws://127.0.0.1:9/x"))
    caplog.set_level(logging.DEBUG)
    house = House()
    asking = msgspec.structs.replace(row(), token_url=shop.url, name="test", connect_interval_ms=1)
    with capture_logs() as logged:
        await house.manager.apply([Exchange(asking, markets("BTC"))])
        await until(lambda: house.status().reconnects >= 2)
        await house.manager.stop()
    assert len(shop.asked) >= 2  # a token for each attempt
    assert "can't connect" in str(logged)
    for told in (str(logged), caplog.text, str(house.manager.status())):
        assert "s3cret" not in told
