"""Under full load a worker wakes the drainer before its ring is full: no usage record is lost, and none twice."""

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest
from tests.fixtures.usage_path import UsagePath

from beast._fast import Engine, Load, monotonic_ns, udp_segment
from beast.cluster.types import Parameters
from beast.engine.load import figures_of
from beast.usage import drainer as drainer_room

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

RING = 1 << 18
"""Half of it lasts 30 ms at 4.5 million answers a second: until then what was drained has to be on the disk."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.skipif(not udp_segment(), reason="this kernel can't send merged datagrams")
async def test_no_record_is_lost_while_the_drainer_only_comes_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(drainer_room, "DRAIN_S", 3600.0)
    engine = Engine(node="test", max_keys=1024, max_instruments=64, http_port=-1, usage_ring=RING)
    engine.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
    engine.publish(0, b"1.5", 1_776_003_781_000_000_000, monotonic_ns())
    engine.put_key(sha256(b"tb_1").digest(), 1, per_second=0, burst=0, partner=True)
    path = UsagePath(engine, tmp_path)
    path.drainer.tune(Parameters(sqs_flush_ms=60_000, sqs_buffer_size=1_000_000))
    engine.start()
    path.start()
    load = Load(
        protocol="udp-segment",
        host="127.0.0.1",
        port=engine.udp_port,
        keys=[b"tb_1"],
        assets=[b"BTC"],
        sockets=8,
        in_flight=512,
        duration_ns=1_000_000_000,
        check="id",
    )
    await asyncio.to_thread(load.run)
    figures = figures_of(load)
    assert figures.answered > 2 * RING, "too few to fill the ring"
    await asyncio.to_thread(engine.stop, 5.0)
    await path.stop(within_s=30)
    counters = engine.counters()
    assert counters["usage_lost"] == 0
    assert set(path.spool_told + path.sink_told) == {None}
    assert path.sink.taken == {1: counters["usage_records"]} == {1: counters["udp_answered"]}
