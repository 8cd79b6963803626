"""The guarded connection, against a socket pair: no engine, no Litestar."""

import asyncio
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from beast.http.protocol import Limits
from beast.http.server import HttpServer

pytestmark = pytest.mark.anyio

Raw = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with its method, path and body; `/slow` lets the loop turn a few times first."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while scope["method"] == "POST":
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event["body"]
        if not event["more_body"]:
            break
    for _ in range(20 if scope["path"] == "/slow" else 0):
        await asyncio.sleep(0)
    answer = f"{scope['method']} {scope['path']} ".encode() + body
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


class Bench:
    """A server under test and what it counted."""

    def __init__(self, **limits: Any) -> None:
        self.counted: Counter[str] = Counter()
        self.server = HttpServer(echo, limits=Limits(**limits), count=lambda name: self.counted.update([name]))

    def connect(self, first: bytes = b"") -> socket.socket:
        ours, theirs = tcp_pair()
        self.server.adopt(theirs.detach(), first)
        return ours

    async def talk(self, first: bytes, *rest: bytes, end: bool = True) -> bytes:
        """Sends all, says that it is done, and reads to the end."""
        loop = asyncio.get_running_loop()
        with self.connect(first) as sock:
            for part in rest:
                await loop.sock_sendall(sock, part)
            if end:
                sock.shutdown(socket.SHUT_WR)
            return await read_all(sock)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.settimeout(0)
    theirs.settimeout(0)
    return ours, theirs


async def read_all(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    async with asyncio.timeout(5):
        while part := await loop.sock_recv(sock, 65536):
            got += part
    return got


@asynccontextmanager
async def bench(**limits: Any) -> AsyncIterator[Bench]:
    made = Bench(**limits)
    await made.server.start()
    try:
        yield made
    finally:
        await made.server.stop(grace_s=1)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d\d\d) ", answer)]


async def test_the_first_bytes_come_before_the_socket() -> None:
    async with bench() as b:
        answer = await b.talk(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Le", b"ngth: 5\r\n\r\nhello")
    assert statuses(answer) == [200]
    assert answer.endswith(b"POST /a hello")
    assert b"date: " in answer


async def test_pipelined_requests_are_answered_in_order() -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(10))
    async with bench() as b:
        answer = await b.talk(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + requests)
    assert statuses(answer) == [200] * 11
    places = [answer.index(b"GET /%s " % path) for path in [b"slow", *(b"%d" % n for n in range(10))]]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
async def test_what_cannot_be_read_is_refused_and_closed(request_bytes: bytes, status: int) -> None:
    async with bench() as b:
        answer = await b.talk(request_bytes, end=False)
    assert statuses(answer) == [status]
    assert b"connection: close" in answer
    assert answer.endswith(b'"}')
    assert b.counted["http_refused"] == 1


async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    async with bench() as b:
        answer = await b.talk(
            b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n"
        )
    assert statuses(answer) == [200, 200, 400]


async def test_a_broken_body_takes_its_request_back() -> None:
    chunked = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"
    async with bench() as b:
        answer = await b.talk(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + chunked)
    assert statuses(answer) == [200, 400]


async def test_a_request_cut_short_is_refused_after_the_whole_ones() -> None:
    async with bench() as b:
        answer = await b.talk(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET /b HT")
    assert statuses(answer) == [200, 400]


async def test_a_chunked_body_over_the_limit_is_refused() -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    async with bench(body_bytes=10_000) as b:
        answer = await b.talk(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", chunk * 3, end=False)
    assert statuses(answer) == [413]


async def test_expect_100_continue_is_honoured() -> None:
    async with bench() as b:
        answer = await b.talk(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", b"ok", end=True
        )
    assert statuses(answer) == [100, 200]


async def test_an_upgrade_is_answered_as_a_plain_request_and_the_last_one() -> None:
    upgrade = b"GET /u HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with bench() as b:
        answer = await b.talk(upgrade + b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n", end=False)
    assert statuses(answer) == [200]
    assert b"GET /u" in answer


@pytest.mark.parametrize(
    ("first", "rest", "status"),
    [
        (b"GET / HTT", b"", [408]),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", b"ab", [408]),
        (b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", b"", [200]),
        (b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\n", b"", [200]),
        (b"", b"", []),
        (b"\r\n", b"", []),
    ],
)
async def test_a_slow_client_is_closed_by_the_clock(first: bytes, rest: bytes, status: list[int]) -> None:
    async with bench(head_s=0.05, body_s=0.05, idle_s=0.05) as b:
        answer = await b.talk(first, rest, end=False)
    assert statuses(answer) == status
    assert b.counted["http_timed_out"] == status.count(408)


async def test_a_head_sent_byte_by_byte_does_not_win_time() -> None:
    async with bench(head_s=0.1) as b:
        loop = asyncio.get_running_loop()
        with b.connect(b"GET / HTTP/1.1\r\n") as sock:
            reading = asyncio.create_task(read_all(sock))
            while not reading.done():
                await asyncio.wait({reading}, timeout=0.02)
                if not b.counted["http_timed_out"]:
                    await loop.sock_sendall(sock, b"a: b\r\n")
            assert statuses(reading.result()) == [408]


async def test_one_connection_too_many_is_turned_away() -> None:
    async with bench(connections=1) as b:
        with b.connect(b""):
            answer = await b.talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", end=False)
    assert statuses(answer) == [503]
    assert b.counted["http_overloaded"] == 1


async def test_one_connection_too_many_of_one_source_is_turned_away() -> None:
    async with bench(connections_per_source=2) as b:
        with b.connect(b""), b.connect(b""):
            answer = await b.talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", end=False)
            assert statuses(answer) == [503]
            b.server.gate.limit(0)
            answer = await b.talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert statuses(answer) == [200]
        b.server.gate.limit(1)
        while b.server.connections:  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.01)
        assert statuses(await b.talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == [200]
    assert b.counted["http_source_limited"] == 1


async def test_stop_finishes_what_is_being_answered() -> None:
    b = Bench()
    await b.server.start()
    with b.connect(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") as busy, b.connect() as idle:
        await b.server.stop()
        answer = await read_all(busy)
        assert await read_all(idle) == b""
    assert statuses(answer) == [200]
    assert b"connection: close" in answer


async def test_a_listener_of_its_own() -> None:
    server = HttpServer(echo)
    await server.start(("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /x HTTP/1.0\r\n\r\n")
    assert statuses(await reader.read()) == [200]
    writer.close()
    await server.stop()
