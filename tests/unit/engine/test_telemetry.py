"""Figures since a base line, from counters that nobody zeroes."""

from hashlib import sha256
from pathlib import Path

import pytest

from beast._fast import COUNTERS, PUBLIC_COUNTERS, Engine, monotonic_ns
from beast.base.clock import ManualClock
from beast.engine.counter_texts import COUNTER_TEXTS
from beast.engine.histogram import Histogram
from beast.engine.telemetry import GAUGES, WINDOW, Telemetry

DOCUMENT = Path(__file__).parents[3] / "docs" / "telemetry.md"


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.lag = Histogram()
        self.pool = {"db_open_conns": 12, "db_in_use_conns": 3, "db_wait_count": 5}
        self.engine = Engine(node="test", max_keys=1024, max_instruments=64)
        self.engine.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
        self.engine.publish(0, b"1.5", 1_776_003_781_000_000_000, monotonic_ns())
        self.engine.put_key(sha256(b"tb_1").digest(), 1, per_second=0, burst=0, partner=True)
        self.telemetry = Telemetry(self.engine, self.clock, loop_lag=self.lag, extra=lambda: self.pool)

    def ask(self, times: int, asset: bytes = b"BTC") -> None:
        for _ in range(times):
            self.engine.ask(b'{"api_key":"tb_1","asset":"%s"}' % asset)

    def pass_seconds(self, seconds: int, asked_each: int = 0) -> None:
        for _ in range(seconds):
            self.ask(asked_each)
            self.clock.advance(1)
            self.telemetry.sample()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_24_and_the_inner_ones_are_all_there(bench: Bench) -> None:
    stats = bench.telemetry.stats()
    assert list(stats.public) == list(COUNTERS[:PUBLIC_COUNTERS])
    assert list(stats.inner) == list(COUNTERS[PUBLIC_COUNTERS:])
    assert (stats.public["db_open_conns"], stats.public["db_in_use_conns"]) == (12, 3)


def test_a_reset_tells_what_was_and_begins_anew_but_zeroes_nothing(bench: Bench) -> None:
    bench.ask(3)
    bench.clock.advance(2)
    told = bench.telemetry.reset()
    assert (told.public["udp_requests"], told.since_reset_s) == (3, 2)
    bench.pool["db_wait_count"] = 6
    bench.ask(1)
    bench.clock.advance(1)
    after = bench.telemetry.stats()
    assert (after.public["udp_requests"], after.inner["udp_answered"], after.since_reset_s) == (1, 1, 1)
    assert (after.public["db_wait_count"], after.public["db_open_conns"]) == (1, 12)
    assert bench.telemetry.counters()["udp_requests"] == bench.engine.counters()["udp_requests"] == 4


def test_rates_since_the_base_line_and_over_ten_seconds(bench: Bench) -> None:
    bench.pass_seconds(30, asked_each=2)
    bench.pass_seconds(WINDOW, asked_each=6)
    rate = bench.telemetry.stats().derived.rps["udp"]
    assert (rate.since_reset, rate.last_10s) == (3, 6)
    bench.telemetry.reset()
    rate = bench.telemetry.stats().derived.rps["udp"]
    assert (rate.since_reset, rate.last_10s) == (0, 6)
    bench.pass_seconds(WINDOW)
    assert bench.telemetry.stats().derived.rps["udp"].last_10s == 0


def test_percentages_and_their_absence(bench: Bench) -> None:
    derived = bench.telemetry.stats().derived
    assert derived.hit_pct == {"memory": None, "tier_2": None, "tier_3": None}
    assert derived.drop_pct == {"udp": None, "background": None, "usage": None}
    bench.ask(3)
    bench.ask(1, b"XYZ")
    bench.engine.count("udp_packets_dropped", 1)
    bench.engine.count("elasticache_hits", 1)
    derived = bench.telemetry.stats().derived
    assert derived.hit_pct == {"memory": 75, "tier_2": 25, "tier_3": 0}
    assert derived.drop_pct == {"udp": 20, "background": None, "usage": 0}


def test_latencies_since_the_base_line(bench: Bench) -> None:
    assert bench.telemetry.stats().latency_us["loop_lag"]["p50"] is None
    for _ in range(99):
        bench.lag.record(1024)
    bench.lag.record(1 << 20)
    told = bench.telemetry.reset().latency_us["loop_lag"]
    assert told == {"p50": 1.151, "p90": 1.151, "p99": 1.151, "p99_9": 1179.647, "max": 1179.647}
    bench.lag.record(2048)
    assert bench.telemetry.stats().latency_us["loop_lag"]["max"] == 2.303
    assert sum(count for _, count in bench.telemetry.latencies()["loop_lag"]) == 101


def test_every_counter_is_explained_in_the_code_and_in_the_document() -> None:
    assert list(COUNTER_TEXTS) == list(COUNTERS)
    assert set(COUNTERS) >= GAUGES
    lines = DOCUMENT.read_text().splitlines()
    for name, text in COUNTER_TEXTS.items():
        assert f"| `{name}` | {text} |" in lines
