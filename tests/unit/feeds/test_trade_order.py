"""Which trade is the newer one, when frames come twice and late and clocks are wrong: through the compiled hot path."""

from typing import Literal

import msgspec
import pytest
from tests.fixtures.feeds import feed

from beast._fast import Engine, Ingest, Plan
from beast.feeds.rows.plan import compile_plan

S = 10**9
WALL = 1_777_802_400 * S
NOW = 5_000 * S
AHEAD = 60 * S
Scope = Literal["", "connection", "symbol"]
SCOPES: tuple[Scope, ...] = ("", "connection", "symbol")


class Bench:
    """One symbol of one connection. Trades are named by their prices."""

    def __init__(self, scope: Scope) -> None:
        self.engine = Engine(node="test", max_instruments=8)
        self.engine.load_instruments([(0, "A", "test", "USD", 1, 0)])
        row = feed(
            "ws://127.0.0.1/",
            sequence_scope=scope,
            sequence_path="n" if scope else "",
            timestamp_path="t",
            timestamp_format="unix_ns",
        )
        self.ingest = Ingest(self.engine, Plan(compile_plan(row)), 0, backfill_ns=5 * S)
        self.ingest.set_symbols([(b"A", 0)])
        self.connect()

    def connect(self) -> None:
        self.ingest.set_epoch(self.engine.link_up(0, 30 * S, NOW))

    def take(self, at: float, price: int, time: float | None, number: int) -> None:
        """A trade comes `at` seconds after the beginning, dated by its exchange; None: by nobody."""
        told = {} if time is None else {"t": WALL + round(time * S)}
        frame = msgspec.json.encode({"e": "trade", "s": "A", "p": str(price), "n": number} | told)
        self.ingest.feed(frame, NOW + round(at * S), WALL + round(at * S))

    def state(self, at: float) -> object:
        held = self.engine.peek(0, NOW + round(at * S))
        return held and held["state"]

    @property
    def price(self) -> str:
        held = self.engine.peek(0, NOW)
        assert held is not None
        return str(held["price"])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("ahead", [0.01, 0.3, 2, 60, 3600])
@pytest.mark.parametrize("late", [0.02, 0.3, 3])
def test_a_trade_that_comes_again_is_older_however_far_its_clock_is_ahead(
    scope: Scope, ahead: float, late: float
) -> None:
    bench = Bench(scope)
    bench.take(0, 1, ahead, 100)
    bench.take(0.01, 2, 0.01 + ahead, 101)
    bench.take(0.01 + late, 1, ahead, 100)
    assert bench.price == "2"
    bench.take(0.02 + late, 3, 0.02 + late + ahead, 102)
    assert bench.price == "3"


@pytest.mark.parametrize("scope", ["connection", "symbol"])
@pytest.mark.parametrize(("before", "after"), [(60, 0), (0, -40), (0, 60)])
def test_numbers_keep_the_order_over_a_clock_that_is_set(scope: Scope, before: float, after: float) -> None:
    bench = Bench(scope)
    bench.take(0, 1, before, 100)
    bench.take(1, 2, 1 + after, 101)
    held = bench.price
    assert held == ("1" if scope == "connection" and after < 0 else "2")
    bench.take(1.5, 1, before, 100)
    assert bench.price == held


@pytest.mark.parametrize("scope", SCOPES)
def test_one_trade_dated_into_the_future_shuts_out_none_that_follow(scope: Scope) -> None:
    bench = Bench(scope)
    bench.take(0, 1, 3600, 100)
    bench.take(1, 2, 1, 101)
    assert bench.price == "2"


def test_without_a_number_it_does_so_for_a_few_seconds_when_it_is_dated_by_as_little() -> None:
    bench = Bench("")
    bench.take(0, 1, 4, 100)
    bench.take(1, 2, 1, 101)
    assert bench.price == "1"
    bench.take(4.1, 3, 4.1, 102)
    assert bench.price == "3"


@pytest.mark.parametrize("scope", ["connection", "symbol"])
def test_a_trade_that_nobody_dates_is_older_by_its_number(scope: Scope) -> None:
    bench = Bench(scope)
    bench.take(0, 1, None, 100)
    bench.take(1, 2, None, 101)
    bench.take(2, 1, None, 100)
    assert bench.price == "2"


def test_a_late_frame_that_repeats_an_old_trade_brings_none_back() -> None:
    bench = Bench("connection")
    bench.take(0, 1, 0, 100)
    bench.take(1, 2, 1, 101)
    bench.take(2, 1, 0, 102)  # a snapshot
    assert bench.price == "2"


@pytest.mark.parametrize("scope", ["connection", "symbol"])
def test_numbers_that_begin_anew_shut_nobody_out_for_long(scope: Scope) -> None:
    bench = Bench(scope)
    bench.take(0, 1, 0, 1_000_000)
    bench.take(30, 2, 30, 1)
    assert bench.price == "1"
    bench.take(61, 3, 61, 2)
    assert bench.price == "3"
    bench.take(62, 4, 62, 3)
    assert bench.price == "4"


def test_the_frames_of_another_connection_are_numbered_anew() -> None:
    bench = Bench("connection")
    bench.take(0, 1, 0, 500)
    bench.connect()
    bench.take(1, 2, 1, 0)
    assert bench.price == "2"
    bench.ingest.set_epoch(bench.engine.link_doubt(0))
    bench.take(3, 4, 3, 2)
    bench.take(4, 3, 2, 1)
    assert bench.price == "4"


def test_a_symbols_numbers_go_on_over_connections_and_not_over_plans() -> None:
    bench = Bench("symbol")
    bench.take(0, 1, AHEAD / S, 500)
    bench.connect()
    bench.take(1, 2, 1, 499)
    assert bench.price == "1"
    bench.ingest.set_plan(Plan(compile_plan(feed("ws://127.0.0.1/", sequence_scope="symbol", sequence_path="n"))))
    bench.take(2, 3, None, 7)
    assert bench.price == "3"


@pytest.mark.parametrize(
    ("scope", "number", "state"),
    [("", 0, "stale"), ("connection", 101, "stale"), ("connection", 99, "quiet"), ("symbol", 99, "quiet")],
)
def test_a_trade_that_only_a_clock_calls_older_leaves_the_one_held_in_doubt(
    scope: Scope, number: int, state: str
) -> None:
    bench = Bench(scope)
    bench.take(0, 1, 0, 100)
    bench.take(2, 2, -1, number)
    assert (bench.price, bench.state(2), bench.state(20)) == ("1", "live", state)
    bench.take(3, 3, 3, 102)
    assert bench.state(20) == "quiet"


@pytest.mark.parametrize(("scope", "state"), [("", "stale"), ("connection", "quiet"), ("symbol", "quiet")])
def test_the_last_trade_of_a_clock_far_ahead_is_live_but_never_quiet(scope: Scope, state: str) -> None:
    bench = Bench(scope)
    bench.take(0, 1, 60, 100)
    assert (bench.state(1), bench.state(20)) == ("live", state)
