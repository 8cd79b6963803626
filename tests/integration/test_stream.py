"""Price streams over real sockets: accepted by a worker, handed over, told by the hub."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import picows
import pytest
from tests.fixtures.services import make_services

from beast._fast import monotonic_ns
from beast.engine.runtime import Runtime
from beast.http.app import build_app
from beast.http.server import HttpServer
from beast.http.stream.hub import Hub

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

EVENT = re.compile(rb"event: (\w+)\n(?:id: (\S+)\n)?data: (.+)\n\n")
TIME_NS = 1_776_003_781_000_000_000


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


class Bench:
    def __init__(self) -> None:
        self.services = make_services()
        self.engine = self.services.engine
        self.hub = Hub(self.engine, self.services.clock)
        self.hub.tune(interval_ms=5, idle_ms=30_000, max_clients=100)
        self.http = HttpServer(build_app(self.services, "", self.hub), count=self.engine.count)
        self.runtime = Runtime(self.engine, on_connection=self.http.adopt)
        bitcoin = self.services.catalogue.find("okx", "BTC")
        assert bitcoin is not None
        self.bitcoin = bitcoin.id

    def publish(self, price: int) -> None:
        self.engine.publish(self.bitcoin, b"%d" % price, TIME_NS, monotonic_ns())

    def counter(self, name: str) -> int:
        return self.engine.counters()[name]


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.http.start()
    made.runtime.start()
    try:
        yield made
    finally:
        await made.runtime.stop(5)
        await made.http.stop(5)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.005)


class SseClient:
    """GET /stream by hand; `small` has little room for what it doesn't read."""

    async def open(self, b: Bench, path: str = "/stream?assets=BTC", *, small: bool = False, **headers: str) -> None:
        sock = socket.socket()
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", b.engine.http_port))
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=4096)
        lines = [f"GET {path} HTTP/1.1", "Host: x", "X-API-Key: tb_partner"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        self.got = b""

    async def events(self, condition: Any) -> list[tuple[str, str, dict[str, Any]]]:
        """Everything until `condition` holds of it, or the server closes."""
        async with asyncio.timeout(10):
            while not condition(events := self.parsed()):
                data = await self.reader.read(4096)
                if not data:
                    break
                self.got += data
        return events

    def parsed(self) -> list[tuple[str, str, dict[str, Any]]]:
        return [(name.decode(), number.decode(), json.loads(data)) for name, number, data in EVENT.findall(self.got)]

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


class WsClient(picows.WSListener):
    """What came by WebSocket."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.pongs: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.lost = False

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type is picows.WSMsgType.TEXT:
            self.messages.append(json.loads(frame.get_payload_as_bytes()))
        elif frame.msg_type is picows.WSMsgType.PONG:
            self.pongs.append(frame.get_payload_as_bytes())
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            self.closed = (frame.get_close_code().value, (frame.get_close_message() or b"").decode())
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:  # noqa: ARG002 - picows's signature
        self.lost = True


async def connect(b: Bench, query: str = "?assets=BTC") -> tuple[picows.WSTransport, WsClient]:
    url = f"ws://127.0.0.1:{b.engine.http_port}/ws{query}"
    transport, listener = await picows.ws_connect(WsClient, url, extra_headers={"X-API-Key": "tb_partner"})
    assert isinstance(listener, WsClient)
    return transport, listener


def say(transport: picows.WSTransport, message: object) -> None:
    transport.send(picows.WSMsgType.TEXT, json.dumps(message).encode())


async def test_events_come_as_prices_change() -> None:
    async with bench() as b:
        client = SseClient()
        await client.open(b)
        await client.events(lambda got: len(got) == 1)
        for price in (5, 6):
            b.publish(price)
            await client.events(lambda got, price=price: got[-1][2]["price"] == price)
        assert client.got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert [data["seq"] for _, _, data in client.parsed()] == [1, 2, 3]
        await client.close()
        await until(lambda: b.hub.clients == 0 and b.http.connections == 0)


async def test_a_slow_client_gets_the_newest_and_costs_nothing_more() -> None:
    async with bench() as b:
        client, first = SseClient(), 1_000
        await client.open(b, small=True)
        await until(lambda: b.hub.clients == 1)
        (session,) = next(iter(b.hub._by_key.values()))
        price = first
        while not session.paused:
            price += 1
            b.publish(price)
            await asyncio.sleep(0.006)
        for _ in range(50):
            price += 1
            b.publish(price)
            await asyncio.sleep(0.006)
        assert session.transport.get_write_buffer_size() < 1_000
        events = await client.events(lambda got: bool(got) and got[-1][2]["price"] == price)
        data = [each for _, _, each in events]
        assert [each["seq"] for each in data] == sorted({each["seq"] for each in data})
        assert len(data) + sum(each["missed"] for each in data) == data[-1]["seq"]
        assert b.counter("stream_missed") == sum(each["missed"] for each in data) > 0
        await client.close()


async def test_a_client_that_reads_nothing_is_closed() -> None:
    async with bench() as b:
        b.hub.tune(interval_ms=5, idle_ms=200, max_clients=100)
        client = SseClient()
        await client.open(b, small=True)
        for price in range(1, 2_000):
            b.publish(price)
            await asyncio.sleep(0.005)
            if b.counter("streams_too_slow"):
                break
        await until(lambda: b.hub.clients == 0)
        assert b.counter("streams_too_slow") == 1
        await client.close()


async def test_a_revoked_key_ends_its_streams_within_a_second() -> None:
    async with bench() as b:
        client = SseClient()
        await client.open(b)
        ws, listener = await connect(b)
        await until(lambda: b.hub.clients == 2)
        b.engine.drop_key(sha256(b"tb_partner").digest())
        async with asyncio.timeout(1):
            events = await client.events(lambda _: False)
            await ws.wait_disconnected()
        assert (events[-1][0], events[-1][2]["error"]) == ("bye", "unauthorized")
        assert listener.messages[-1]["error"] == "unauthorized"
        assert listener.closed == (1008, "the API key is missing or not valid")
        await client.close()
        await until(lambda: b.hub.clients == 0)


async def test_stop_says_goodbye() -> None:
    client = SseClient()
    async with bench() as b:
        await client.open(b)
        ws, listener = await connect(b)
        await until(lambda: b.hub.clients == 2)
    events = await client.events(lambda _: False)
    assert events[-1][0] == "bye"
    await ws.wait_disconnected()
    assert listener.closed is not None
    assert listener.closed[0] == 1001
    assert (b.counter("streams_opened"), b.counter("streams_closed")) == (2, 2)
    await client.close()


async def test_coming_back_tells_what_was_missed_and_another_server_cannot_know() -> None:
    client = SseClient()
    async with bench() as b:
        await client.open(b)
        last = (await client.events(lambda got: len(got) == 1))[-1][1]
        await client.close()
        for price in range(4):
            b.publish(price + 1)
            await asyncio.sleep(0.03)
        await client.open(b, Last_Event_ID=last)
        (_, _, data), *_ = await client.events(lambda got: len(got) == 1)
        assert (data["seq"], data["missed"], data["price"]) == (5, 3, 4)
        await client.close()
    async with bench() as other:
        await client.open(other, Last_Event_ID=last)
        (_, _, data), *_ = await client.events(lambda got: len(got) == 1)
        assert (data["seq"], data["missed"]) == (1, None)
        await client.close()


async def test_a_websocket_asks_changes_and_resumes() -> None:
    async with bench() as b:
        ws, listener = await connect(b, "")
        say(ws, {"assets": ["BTC", "XYZ"]})
        await until(lambda: len(listener.messages) == 2)
        assert listener.messages[0]["error"] == "unknown_asset"
        last = listener.messages[1]["id"]
        say(ws, {"assets": ["ETH"]})
        await until(lambda: len(listener.messages) == 3)
        for price in range(3):
            b.publish(price + 1)
            await asyncio.sleep(0.03)
        say(ws, {"resume": {"btc": last}})
        await until(lambda: len(listener.messages) == 4)
        assert (listener.messages[-1]["seq"], listener.messages[-1]["missed"]) == (4, 2)
        say(ws, {"assets": "BTC"})
        say(ws, {"assets": ["NONE"]})
        await until(lambda: len(listener.messages) == 6)
        assert listener.messages[4]["error"] == "bad_request"
        assert listener.messages[5]["prices"][0]["error"] == "unknown_asset"
        ws.send_ping(b"hello")
        await until(lambda: listener.pongs == [b"hello"])
        ws.send_close(picows.WSCloseCode.OK)
        await ws.wait_disconnected()
        await until(lambda: b.hub.clients == 0)


@pytest.mark.parametrize("junk", ["binary", "flood"])
async def test_a_websocket_that_misbehaves_is_closed(junk: str) -> None:
    async with bench() as b:
        ws, listener = await connect(b)
        if junk == "binary":
            ws.send(picows.WSMsgType.BINARY, b"x")
        else:
            for _ in range(100):
                ws.send_ping(b"")
        await ws.wait_disconnected()
        assert listener.closed is not None
        assert listener.closed[0] == (1003 if junk == "binary" else 1008)


async def test_a_frame_that_comes_with_the_handshake_is_read() -> None:
    async with bench() as b:
        reader, writer = await asyncio.open_connection("127.0.0.1", b.engine.http_port)
        head = b"GET /ws?assets=BTC HTTP/1.1\r\nHost: x\r\nX-API-Key: tb_partner\r\n"
        head += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        head += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        writer.write(head + b"\x89\x82\0\0\0\0hi")
        async with asyncio.timeout(5):
            assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"\x8a\x02hi")
        writer.close()
        await writer.wait_closed()


async def test_streams_count_for_their_source_but_not_for_the_total() -> None:
    async with bench() as b:
        b.http.gate.limit(2)
        clients = [SseClient() for _ in range(3)]
        for client in clients[:2]:
            await client.open(b)
            await client.events(lambda got: len(got) == 1)
        await clients[2].open(b)
        await clients[2].events(lambda _: False)
        assert b"HTTP/1.1 503" in clients[2].got
        assert not b.http.gate._total
        await clients[0].close()
        await until(lambda: b.hub.clients == 1)
        await clients[2].close()
        await clients[2].open(b)
        await clients[2].events(lambda got: len(got) == 1)
        for client in clients[1:]:
            await client.close()
