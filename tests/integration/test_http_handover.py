"""A connection's way from the workers to the ASGI side, with real workers and real sockets."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest

from beast._fast import Engine, monotonic_ns
from beast.engine.runtime import Runtime
from beast.http.protocol import Limits
from beast.http.server import HttpServer

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

HOT = b"GET /price?asset=BTC HTTP/1.1\r\nHost: x\r\nX-API-Key: tb_k\r\n\r\n"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the path and the size of the body, after a turn of the loop."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    size, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        size += len(event["body"])
        more = event["more_body"]
    await asyncio.sleep(0.01)
    answer = f"{scope['path']} {size}".encode()
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


class Bench:
    def __init__(self, **limits: Any) -> None:
        self.engine = Engine(node="test", workers=2, max_keys=1024, max_instruments=64)
        self.engine.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
        self.engine.publish(0, b"1.5", 1_776_003_781_000_000_000, monotonic_ns())
        self.engine.put_key(sha256(b"tb_k").digest(), 1, per_second=0, burst=0, partner=True)
        self.http = HttpServer(echo, limits=Limits(**limits), count=self.engine.count)
        self.runtime = Runtime(self.engine, on_connection=self.http.adopt)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.engine.http_port)

    async def talk(self, sent: bytes) -> bytes:
        reader, writer = await self.connect()
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(10):
            got = await reader.read()
        writer.close()
        await writer.wait_closed()
        return got


@asynccontextmanager
async def bench(**limits: Any) -> AsyncIterator[Bench]:
    made = Bench(**limits)
    await made.http.start()
    made.runtime.start()
    try:
        yield made
    finally:
        await made.runtime.stop(5)
        await made.http.stop(5)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", answer)]


async def test_hot_and_cold_requests_share_a_connection() -> None:
    async with bench() as b:
        answer = await b.talk(
            HOT + b"GET /cold HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET /again HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert statuses(answer) == [200, 200, 200]
        assert answer.index(b'"price":1.5') < answer.index(b"/cold 0") < answer.index(b"/again 0")
        counters = b.engine.counters()
    assert (counters["http_handed_over"], counters["tcp_requests"]) == (1, 1)


@pytest.mark.parametrize("size", [0, 1, 5_000, 9_000, 200_000])
async def test_bodies_survive_the_hand_over(size: int) -> None:
    async with bench() as b:
        head = f"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
        assert (await b.talk(head + b"x" * size)).endswith(f"/up {size}".encode())


async def test_a_head_in_pieces_survives_the_hand_over() -> None:
    async with bench() as b:
        for cut in range(1, 40, 3):
            reader, writer = await b.connect()
            whole = b"GET /price/cold HTTP/1.1\r\nHost: x\r\n\r\n"
            writer.write(whole[:cut])
            await asyncio.sleep(0.005)
            writer.write(whole[cut:])
            async with asyncio.timeout(5):
                answer = await reader.readuntil(b"/price/cold 0")
            assert statuses(answer) == [200]
            writer.close()
            await writer.wait_closed()


async def test_many_connections_at_once() -> None:
    async with bench() as b:
        requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(200)]
        answers = await asyncio.gather(*(b.talk(request) for request in requests))
        assert all(answer.endswith(b"/%d 0" % n) for n, answer in enumerate(answers))


async def test_too_many_connections_are_turned_away() -> None:
    async with bench(connections=2) as b:
        held = [await b.connect() for _ in range(2)]
        for _, writer in held:
            writer.write(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        while b.http.connections < 2:  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.01)
        answer = await b.talk(b"GET /more HTTP/1.1\r\nHost: x\r\n\r\n")
        assert statuses(answer) == [503]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "unavailable"
        assert statuses(await b.talk(HOT)) == [200]
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


async def test_stop_answers_what_was_received() -> None:
    async with bench() as b:
        asked = [asyncio.create_task(b.talk(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n)) for n in range(20)]
        await asyncio.sleep(0.05)
    assert [statuses(answer) for answer in await asyncio.gather(*asked)] == [[200]] * 20
