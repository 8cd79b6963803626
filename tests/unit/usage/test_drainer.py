"""Nothing that was answered is lost on its way to the accounts, whatever the sink does."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

import pytest

from beast._fast import Engine, monotonic_ns
from beast.cluster.types import Parameters
from beast.usage import drainer as drainer_room
from beast.usage.drainer import Drainer

pytestmark = pytest.mark.anyio

RING = 2048


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engine() -> Engine:
    made = Engine(node="test", max_keys=1024, max_instruments=64, usage_ring=RING)
    made.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
    made.publish(0, b"1.5", 1_776_003_781_000_000_000, monotonic_ns(), epoch=1)
    for number in (1, 2):
        made.put_key(sha256(b"tb_%d" % number).digest(), number, per_second=0, burst=0, partner=True)
    return made


class Sink:
    """Accounts that can be away."""

    def __init__(self) -> None:
        self.away = self.hangs = False
        self.taken: Counter[int] = Counter()
        self.told: list[str | None] = []

    async def add_usage(self, pairs: Sequence[tuple[int, int]]) -> int:
        if self.away:
            raise ConnectionError("the database is away")
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        self.taken.update(dict(pairs))
        return len(pairs)


def ask(engine: Engine, number: int, times: int) -> None:
    for _ in range(times):
        [answer] = engine.ask(b'{"api_key":"tb_%d","asset":"BTC"}' % number)
        assert "price" in json.loads(answer)


async def test_answers_reach_the_sink_summed(engine: Engine) -> None:
    sink = Sink()
    drainer = Drainer(engine, sink.add_usage, sink.told.append)
    ask(engine, 1, 3)
    ask(engine, 2, 5)
    assert drainer.drain() == 8
    assert drainer.pending == 8
    await drainer.flush()
    assert sink.taken == {1: 3, 2: 5}
    assert drainer.pending == 0
    assert engine.counters()["batch_rows_queued"] == 8


async def test_what_the_sink_refuses_is_kept_and_told_later(engine: Engine) -> None:
    sink = Sink()
    drainer = Drainer(engine, sink.add_usage, sink.told.append)
    sink.away = True
    ask(engine, 1, 3)
    drainer.drain()
    await drainer.flush()
    assert drainer.pending == 3
    assert "away" in str(sink.told[-1])
    ask(engine, 1, 4)
    drainer.drain()
    sink.away = False
    await drainer.flush()
    assert sink.taken == {1: 7}
    assert sink.told[-1] is None


async def test_stop_drains_and_flushes_the_last_record(engine: Engine) -> None:
    sink = Sink()
    drainer = Drainer(engine, sink.add_usage, sink.told.append)
    drainer.start()
    ask(engine, 1, 1000)
    await drainer.stop()
    assert sink.taken == {1: 1000}


async def test_a_ring_that_fills_up_wakes_the_drainer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drainer_room, "DRAIN_S", 3600.0)
    sink = Sink()
    drainer = Drainer(engine, sink.add_usage, sink.told.append)
    drainer.tune(Parameters(sqs_flush_ms=60_000, sqs_buffer_size=1_000_000))
    drainer.start()
    for turn in (1, 2, 3):
        ask(engine, 1, RING // 2)
        async with asyncio.timeout(5):
            while drainer.pending < turn * RING // 2:  # noqa: ASYNC110 - the drainer raises no event
                await asyncio.sleep(0.001)
    await drainer.stop()
    assert engine.counters()["usage_lost"] == 0


async def test_a_sink_that_takes_too_long_is_given_up_and_told_again(engine: Engine) -> None:
    sink = Sink()
    drainer = Drainer(engine, sink.add_usage, sink.told.append)
    drainer.tune(Parameters(sqs_timeout_ms=100))
    sink.hangs = True
    ask(engine, 1, 3)
    drainer.drain()
    await drainer.flush()
    assert (drainer.pending, sink.told) == (3, ["usage is kept in memory: the database took too long"])
    sink.hangs = False
    await drainer.flush()
    assert (drainer.pending, sink.taken) == (0, {1: 3})


async def test_usage_goes_to_the_sink_in_time_or_when_there_is_much_of_it(engine: Engine) -> None:
    sink = Sink()
    drainer = Drainer(engine, sink.add_usage, sink.told.append)
    drainer.tune(Parameters(sqs_flush_ms=60_000, sqs_buffer_size=1_000))
    drainer.start()
    ask(engine, 1, 1_000)
    async with asyncio.timeout(5):
        while not sink.taken:  # noqa: ASYNC110 - the sink raises no event
            await asyncio.sleep(0.001)
    assert sink.taken == {1: 1_000}
    ask(engine, 1, 1)
    drainer.tune(Parameters(sqs_flush_ms=10))
    async with asyncio.timeout(5):
        while sink.taken != {1: 1_001}:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)
    await drainer.stop()
