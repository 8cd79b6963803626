"""Nothing that was answered is lost on its way to the sink, whatever sink and spool do."""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from tests.fixtures.usage_path import UsagePath

from beast._fast import Engine, monotonic_ns
from beast.cluster.types import Parameters
from beast.usage import drainer as drainer_room

pytestmark = pytest.mark.anyio

RING = 2048


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engine() -> Engine:
    made = Engine(node="test", max_keys=1024, max_instruments=64, usage_ring=RING)
    made.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
    made.publish(0, b"1.5", 1_776_003_781_000_000_000, monotonic_ns())
    for number in (1, 2):
        made.put_key(sha256(b"tb_%d" % number).digest(), number, per_second=0, burst=0, partner=True)
    return made


@pytest.fixture
def path(engine: Engine, tmp_path: Path) -> UsagePath:
    return UsagePath(engine, tmp_path)


def ask(engine: Engine, number: int, times: int) -> None:
    for _ in range(times):
        [answer] = engine.ask(b'{"api_key":"tb_%d","asset":"BTC"}' % number)
        assert "price" in json.loads(answer)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - nobody raises an event
            await asyncio.sleep(0.001)


async def test_answers_are_owed_until_the_sink_has_them(engine: Engine, path: UsagePath) -> None:
    ask(engine, 1, 3)
    ask(engine, 2, 5)
    assert path.drainer.drain() == 8
    assert path.ledger.pending == 8
    assert await path.drainer.flush()
    assert path.ledger.pending == 8
    path.pump.start()
    assert await path.pump.emptied(5)
    assert path.sink.taken == {1: 3, 2: 5}
    assert path.ledger.pending == 0
    assert path.ledger.unbooked(0) == {}
    assert engine.counters()["batch_rows_queued"] == 8
    await path.stop()


async def test_what_the_sink_refuses_is_kept_and_told_later(engine: Engine, path: UsagePath) -> None:
    path.sink.away = True
    path.start()
    ask(engine, 1, 3)
    await until(lambda: "is away" in str(path.sink_told[-1:]))
    assert path.ledger.unbooked(0) == {1: 3}
    ask(engine, 1, 4)
    path.sink.away = False
    await until(lambda: path.sink.taken == {1: 7})
    await until(lambda: path.sink_told[-1] is None)
    await path.stop()
    assert path.ledger.pending == 0


async def test_a_sink_that_takes_some_of_the_batches_gets_the_others_again(engine: Engine, path: UsagePath) -> None:
    path.sink.refuses_every = 2
    for turn in range(1, 7):
        ask(engine, 1 + turn % 2, turn)
        path.drainer.drain()
        await path.drainer.flush()
    path.pump.start()
    assert await path.pump.emptied(5)
    assert path.sink.taken == {1: 2 + 4 + 6, 2: 1 + 3 + 5}
    assert path.ledger.pending == 0
    await path.stop()


async def test_stop_drains_and_puts_the_last_record(engine: Engine, path: UsagePath) -> None:
    path.start()
    ask(engine, 1, 1000)
    await path.stop()
    assert path.sink.taken == {1: 1000}


async def test_what_the_sink_does_not_take_in_time_is_there_after_the_next_start(
    engine: Engine, path: UsagePath, tmp_path: Path
) -> None:
    path.sink.away = True
    path.start()
    ask(engine, 1, 10)
    await path.stop(within_s=0.1)
    after = UsagePath(engine, tmp_path)
    after.start()
    await until(lambda: after.sink.taken == {1: 10})
    await after.stop()


async def test_a_ring_that_fills_up_wakes_the_drainer(
    engine: Engine, path: UsagePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drainer_room, "DRAIN_S", 3600.0)
    path.drainer.tune(Parameters(sqs_flush_ms=60_000, sqs_buffer_size=1_000))
    path.start()
    for turn in (1, 2, 3):
        ask(engine, 1, RING // 2)
        await until(lambda turn=turn: path.sink.taken == {1: turn * RING // 2})  # type: ignore[misc]
    await path.stop()
    assert engine.counters()["usage_lost"] == 0


async def test_a_disk_that_is_slow_to_sync_fills_no_ring(
    engine: Engine, path: UsagePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = threading.Event(), os.fdatasync

    def wait_and_sync(file: int) -> None:
        synced.wait(10)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", wait_and_sync)
    path.drainer.tune(Parameters(sqs_flush_ms=10))
    path.start()
    for _ in range(8):
        before = path.spool.size
        ask(engine, 1, RING // 2)
        await until(lambda before=before: path.spool.size > before)  # type: ignore[misc]
    assert engine.counters()["usage_lost"] == 0
    assert path.sink.taken == {}, "what is not the disk's is not handed out"
    synced.set()
    await until(lambda: path.sink.taken == {1: 4 * RING})
    await path.stop()


async def test_a_full_spool_is_told_and_the_rings_keep_what_there_was_no_room_for(
    engine: Engine, path: UsagePath
) -> None:
    path.sink.away = True
    ask(engine, 1, 500)
    path.drainer.drain()
    assert await path.drainer.flush()
    path.spool.max_bytes = path.spool.size
    ask(engine, 1, RING)
    path.drainer.drain()
    assert not await path.drainer.flush()
    assert "is full" in str(path.spool_told[-1])
    assert engine.counters()["usage_spool_full"] == 1
    ask(engine, 2, 5)
    assert engine.counters()["usage_lost"] == 5
    path.sink.away = False
    path.pump.start()
    assert await path.pump.emptied(5)
    path.spool.max_bytes = 1 << 30
    ask(engine, 1, 1)
    assert await path.drainer.flush()
    ask(engine, 1, 7)
    await path.stop()
    assert path.spool_told[-1] is None
    assert path.sink.taken == {1: 500 + RING + 7}
    [book] = path.ledger.lanes().values()
    assert len(book.lost) == 6
    assert not book.waiting


async def test_a_sink_that_takes_too_long_is_given_up_and_told_again(engine: Engine, path: UsagePath) -> None:
    path.pump.tune(Parameters(sqs_timeout_ms=100))
    path.sink.hangs = True
    path.start()
    ask(engine, 1, 3)
    await until(lambda: "took too long" in str(path.sink_told[-1:]))
    assert path.ledger.pending == 3
    path.sink.hangs = False
    await until(lambda: path.sink.taken == {1: 3})
    await path.stop()


async def test_usage_goes_to_the_sink_in_time_or_when_there_is_much_of_it(engine: Engine, path: UsagePath) -> None:
    path.drainer.tune(Parameters(sqs_flush_ms=60_000, sqs_buffer_size=1_000))
    path.start()
    ask(engine, 1, 1_000)
    await until(lambda: path.sink.taken == {1: 1_000})
    ask(engine, 1, 1)
    path.drainer.tune(Parameters(sqs_flush_ms=10))
    await until(lambda: path.sink.taken == {1: 1_001})
    await path.stop()
