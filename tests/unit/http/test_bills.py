"""An answer of the ASGI side costs something once it is written, and nothing when its client has gone before."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from tests.fixtures.services import make_services

from beast._fast import USAGE_RECORD, Bill, Engine, monotonic_ns
from beast.http.app import build_app
from beast.http.server import HttpServer
from beast.http.services import Services

pytestmark = pytest.mark.anyio

ASK = b"GET /price?asset=ETH HTTP/1.1\r\nHost: x\r\nX-API-Key: tb_capped\r\n\r\n"
TRADED_NS = 1_776_003_781_123_456_000


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


class SlowTiers:
    """Slower tiers that know a price as soon as the test lets them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def find(self, _assets: object, _exchange: object, _max_age_ms: object) -> None:
        self.asked.set()
        await self.answer.wait()
        ether = self._services.catalogue.find("okx", "ETH")
        assert ether is not None
        self._services.engine.publish(ether.id, b"1801.5", TRADED_NS, monotonic_ns(), tier=3)


@pytest.fixture
def services() -> Services:
    made = make_services()
    made.engine.put_key(sha256(b"tb_capped").digest(), 9, per_second=0, burst=0, allowance=2)
    return made


@pytest.fixture
def tiers(services: Services) -> SlowTiers:
    return SlowTiers(services)


@pytest.fixture
async def port(services: Services, tiers: SlowTiers) -> AsyncIterator[int]:
    with_tiers = msgspec.structs.replace(services, tiers=tiers)
    server = HttpServer(build_app(with_tiers, "an-admin-key-of-the-tests"))
    await server.start(("127.0.0.1", 0))
    yield server.port
    tiers.answer.set()
    await server.stop(grace_s=1)


def left(engine: Engine) -> int:
    """How many more answers the key has."""
    answers = 0
    while engine.query(b"tb_capped", ["BTC"], many=False)[0] == 200:
        answers += 1
    engine.drain_usage()
    return answers


async def test_an_answer_counts_when_it_is_written(port: int, tiers: SlowTiers, services: Services) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ASK)
    await tiers.asked.wait()
    assert services.engine.drain_usage() == (b"", [])
    tiers.answer.set()
    assert b" 200 " in await reader.readline()
    records, answers = services.engine.drain_usage()
    assert answers == [(9, 1)]
    latency_ns = struct.unpack(USAGE_RECORD, records)[6]
    assert 0 < latency_ns < 2**32 - 1
    assert left(services.engine) == 1
    writer.close()


async def test_a_client_that_is_gone_pays_nothing(port: int, tiers: SlowTiers, services: Services) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ASK)
    await tiers.asked.wait()
    reset = struct.pack("ii", 1, 0)  # an end of sending alone is no end of listening
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    writer.transport.abort()
    reader, other = await asyncio.open_connection("127.0.0.1", port)
    other.write(b"GET /assets HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in await reader.readline(), "by now the server knows"
    tiers.answer.set()
    for _ in range(100):
        await asyncio.sleep(0)
    assert services.engine.drain_usage() == (b"", [])
    assert left(services.engine) == 2
    other.close()


class SlowReader:
    """A client that reads when it is told to, of whose answers the kernel takes few."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.sock.connect(listener.getsockname())
            accepted, _ = listener.accept()
        self.sock.settimeout(0)
        accepted.settimeout(0)
        server.adopt(accepted.detach(), b"")

    async def ask(self, times: int) -> None:
        request = b"GET /price?asset=BTC HTTP/1.1\r\nHost: x\r\nX-API-Key: tb_slow\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(self.sock, request * times)

    async def read(self, answers: int) -> None:
        """So many of them."""
        data = b""
        while data.count(b'"price":') < answers:
            data += await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)


class Paid:
    """How many answers have been paid."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.answers = 0

    def count(self) -> int:
        self.answers += sum(answers for _, answers in self._engine.drain_usage()[1])
        return self.answers


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - nobody raises an event
            await asyncio.sleep(0)


@pytest.fixture
async def slow(services: Services) -> AsyncIterator[SlowReader]:
    services.engine.put_key(sha256(b"tb_slow").digest(), 10, per_second=0, burst=0, allowance=400)
    server = HttpServer(build_app(services, "an-admin-key-of-the-tests"))
    await server.start()
    reader = SlowReader(server)
    await until(lambda: server.connections == 1)
    yield reader
    reader.sock.close()
    await server.stop(grace_s=1)


async def test_what_a_slow_reader_takes_later_counts_later(slow: SlowReader, services: Services) -> None:
    paid = Paid(services.engine)
    await slow.ask(100)
    await until(lambda: paid.count() > 0)
    assert paid.count() < 100, "the kernel has no room for them"
    await slow.read(100)
    await until(lambda: paid.count() == 100)
    await slow.ask(1)
    await slow.read(1)
    await until(lambda: paid.count() == 101)


async def test_what_a_slow_reader_never_takes_costs_nothing(slow: SlowReader, services: Services) -> None:
    paid = Paid(services.engine)
    await slow.ask(100)
    await until(lambda: paid.count() > 0)
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    slow.sock.close()
    await until(lambda: slow.server.connections == 0)
    taken, left_over = paid.count(), 0
    while services.engine.query(b"tb_slow", ["BTC"], many=False)[0] == 200:
        left_over += 1
    assert left_over == 400 - taken
    assert taken < 100


async def test_a_bill_is_for_one_answer(services: Services) -> None:
    engine, bill = services.engine, Bill()
    assert engine.query(b"tb_capped", ["XYZ"], many=False, bill=bill)[0] == 404
    bill.pay()
    assert engine.drain_usage() == (b"", [])
    assert engine.query(b"tb_capped", ["BTC"], many=False, bill=bill)[0] == 200
    with pytest.raises(ValueError, match="one answer"):
        engine.query(b"tb_capped", ["BTC"], many=False, bill=bill)
    bill.pay()
    bill.pay()
    bill.drop()
    assert engine.drain_usage()[1] == [(9, 1)]
    assert engine.query(b"tb_capped", ["BTC"], many=False, bill=bill)[0] == 200
    bill.drop()
    bill.drop()
    bill.pay()
    assert engine.drain_usage() == (b"", [])
    assert left(engine) == 1
