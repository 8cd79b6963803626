"""An answer of the ASGI side costs something once it is written, and nothing when its client has gone before."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
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
