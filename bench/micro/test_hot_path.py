"""What single steps cost as Python sees them. The isolated C figures come from bench/micro/c."""

import hashlib
import json
from collections.abc import Callable, Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tests.fixtures.rows import FRAMES, all_feeds

from beast._fast import Engine, Ingest, Plan, monotonic_ns
from beast.feeds.rows.plan import compile_plan, lookup_key

KEY = "tb_" + "0" * 64
UNKNOWN = b'{"api_key":"tb_unknown","asset":"BTC","id":"the same length as what is answered to it"}'
ASSETS = 1000
WALL_NS = 1_775_000_000_123_456_000


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(node="Bench", max_keys=1024, max_instruments=2 * ASSETS)
    engine.load_instruments([(n, f"A{n}", "coinbase", "USD", 1, 0) for n in range(ASSETS)])
    for number in range(ASSETS):
        engine.publish(number, b"83421.57", WALL_NS, monotonic_ns())
    engine.put_key(hashlib.sha256(KEY.encode()).digest(), 1, per_second=0, burst=1, partner=True)
    yield engine
    while engine.drain_usage()[0]:
        pass


def asking(engine: Engine, **members: object) -> Callable[[], list[bytes]]:
    """One request through the workers' own code; the usage ring is emptied before it is full."""
    datagram = json.dumps({"api_key": KEY, **members}).encode()
    now_ns, asked = monotonic_ns(), 0

    def ask() -> list[bytes]:
        nonlocal asked
        asked += 1
        if asked % 32_768 == 0:
            engine.drain_usage()
        return engine.ask(datagram, now_ns=now_ns, wall_ns=WALL_NS)

    return ask


def test_parse_and_answer(benchmark: BenchmarkFixture, engine: Engine) -> None:
    """Parse, key, admission, price, answer, usage record, and Python's call."""
    (answer,) = benchmark(asking(engine, asset="A7", id=7))
    assert b'"price":83421.57' in answer


def test_parse_and_answer_thirty_assets(benchmark: BenchmarkFixture, engine: Engine) -> None:
    parts = benchmark(asking(engine, assets=[f"A{n}" for n in range(30)], id=7))
    assert sum(part.count(b'"price":') for part in parts) == 30


def test_key_look_up_of_an_unknown_key(benchmark: BenchmarkFixture, engine: Engine) -> None:
    """The second time from the cache; the answer is a refusal, or nothing when the source is over its limit."""
    benchmark(lambda: engine.ask(UNKNOWN, now_ns=1, wall_ns=WALL_NS))


def test_price_look_up_of_an_unknown_asset(benchmark: BenchmarkFixture, engine: Engine) -> None:
    (answer,) = benchmark(asking(engine, asset="NOPE", id=7))
    assert b"unknown_asset" in answer


def test_publish(benchmark: BenchmarkFixture, engine: Engine) -> None:
    benchmark(engine.publish, 0, b"83421.58", WALL_NS, monotonic_ns())


def trade_frame(exchange: str) -> tuple[bytes, str]:
    """The exchange's first frame with one trade, and the trade's wire symbol."""
    for line in (FRAMES / exchange / "frames.jsonl").read_text().splitlines():
        frame = json.loads(line)
        if frame["kind"] == "trade" and len(frame["trades"]) == 1:
            return frame["raw"].encode(), frame["trades"][0][0]
    raise LookupError(exchange)


@pytest.mark.parametrize("exchange", sorted(all_feeds()))
def test_extract(benchmark: BenchmarkFixture, exchange: str) -> None:
    """A frame's trades as Python objects."""
    frame, _ = trade_frame(exchange)
    plan = Plan(compile_plan(all_feeds()[exchange]))
    _, trades, *_ = benchmark(plan.extract, frame)
    assert len(trades) == 1


@pytest.mark.parametrize("exchange", sorted(all_feeds()))
def test_ingest(benchmark: BenchmarkFixture, engine: Engine, exchange: str) -> None:
    """From a frame to a new answer."""
    feed, (frame, symbol) = all_feeds()[exchange], trade_frame(exchange)
    ingest = Ingest(engine, Plan(compile_plan(feed)), 0, backfill_ns=10**18)
    ingest.set_symbols([(lookup_key(feed, symbol).encode(), 0)])
    before = engine.counters()["ws_trades"]
    benchmark(ingest.feed, frame, monotonic_ns(), WALL_NS)
    assert engine.counters()["ws_trades"] > before
