import ssl
from collections.abc import Sequence
from random import Random

import msgspec
import pytest
from structlog.testing import capture_logs

from beast._fast import Plan
from beast.base.clock import ManualClock
from beast.feeds.link.connection import End
from beast.feeds.link.endpoint import Address, EndpointError
from beast.feeds.link.gate import Gate
from beast.feeds.link.link import HEALTHY_NS, Link, Wired
from beast.feeds.link.subscription import WITHDRAWN, Event
from beast.feeds.rows.classify import Answer
from beast.feeds.types import Feed, Mapping


class Table:
    """A price table with one link that nobody brings up."""

    def link_up(self, _link: int, _patience_ns: int, _now_ns: int) -> int:
        return 1

    def link_proven(self, _link: int, _now_ns: int) -> None:
        pass

    def link_down(self, _link: int) -> None:
        pass

    def link_doubt(self, _link: int) -> int:
        return 1

    def link_state(self, _link: int) -> tuple[bool, int, int]:
        return False, 0, 0

    def count(self, name: str, n: int = 1) -> None:
        pass

    def __init__(self) -> None:
        self.forgotten: list[int] = []
        self.doubted: list[int] = []

    def doubt(self, instrument: int) -> None:
        self.doubted.append(instrument)

    def forget(self, instrument: int) -> None:
        self.forgotten.append(instrument)


class Sink:
    def __init__(self) -> None:
        self.mapped: list[tuple[bytes, int]] = []

    def set_symbols(self, symbols: Sequence[tuple[bytes, int]]) -> None:
        self.mapped = list(symbols)

    def take_gaps(self) -> list[tuple[int | None, int, int, int, int]]:
        return []

    def symbols(self) -> list[tuple[bytes, int, int, int, int, int, int, int, int]]:
        return []

    def tally(self) -> tuple[int, int, int, int, int]:
        return 0, 0, 0, 0, 0

    def set_plan(self, plan: Plan) -> None:
        pass

    def set_backfill_ns(self, backfill_ns: int) -> None:
        pass

    def set_epoch(self, epoch: int) -> None:
        pass

    def feed(self, _frame: bytes | memoryview, _received_ns: int, _wall_ns: int) -> int:
        return 0


class Widest(Random):
    """Every delay is the longest that full jitter may draw."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class Nowhere:
    """There is no address."""

    async def find(self, _feed: Feed, _symbols: list[str]) -> Address:
        raise EndpointError("no token (code=429)")


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.table = Table()
        self.sink = Sink()
        row = {"name": "x", "ws_url": "ws://h", "trade_filter": [], "price_path": "p", "symbol_path": "s"}
        self.feed = msgspec.convert(row, Feed)
        self.link = Link(
            self.feed,
            Nowhere(),
            number=3,
            table=self.table,
            sink=self.sink,
            classify=lambda _frame: Answer("ignored"),
            gate=Gate(0, self.clock),
            clock=self.clock,
            rng=Widest(),
            tls=ssl.create_default_context(),
        )

    async def settled(self) -> "Bench":
        rows = (Mapping(asset="A", symbol="a", currency="USD"), Mapping(asset="B", symbol="b/c", currency="USD"))
        wired = [Wired(row, row.key.encode(), number) for number, row in enumerate(rows, 7)]
        await self.link.settle(self.feed, lambda _frame: Answer("ignored"), None, wired)
        return self

    async def pause(self, *, lasted_ns: int, planned: bool = False) -> float:
        """How long it waits after a connection that lasted so long."""
        connection = await self.link._new_connection()
        connection.opened_ns = self.clock.monotonic_ns() - lasted_ns
        return self.link._pause_s(End("why", planned), connection)


def test_attempts_are_spaced() -> None:
    clock = ManualClock()
    gate = Gate(1000, clock)
    assert [gate.take(), gate.take(), gate.take()] == [0, 1, 2]
    clock.advance(2.5)
    assert gate.take() == pytest.approx(0.5)
    clock.advance(60)
    assert gate.take() == 0


@pytest.mark.anyio
async def test_delays_grow_to_a_minute_and_start_again_after_a_healthy_connection() -> None:
    bench = Bench()
    assert [await bench.pause(lasted_ns=10**9) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [await bench.pause(lasted_ns=12 * 10**9), await bench.pause(lasted_ns=0)] == [1, 2]


@pytest.mark.anyio
async def test_a_planned_end_costs_no_delay_unless_it_comes_at_once() -> None:
    bench = Bench()
    assert await bench.pause(lasted_ns=HEALTHY_NS, planned=True) == 0
    assert bench.link.status().last_error == ""
    assert await bench.pause(lasted_ns=10**9, planned=True) == 1
    assert await bench.pause(lasted_ns=10**9) == 2
    assert bench.link.status().last_error == "why"


def test_the_wait_that_is_logged_is_the_one_that_comes() -> None:
    with capture_logs() as logged:
        bench = Bench()
        bench.link._gate = gate = Gate(3000, bench.clock)
        gate.take()
        bench.link._pause_s(End("why"), None)
    assert [entry["again_in_s"] for entry in logged] == [3.0]


@pytest.mark.anyio
async def test_an_address_that_is_not_to_be_had_is_an_attempt_like_any_other() -> None:
    bench = Bench()
    end, connection = await bench.link._attempt()
    assert (end, connection) == (End("can't connect: no token (code=429)"), None)


def test_a_link_that_was_never_well_is_in_trouble_after_a_while() -> None:
    bench = Bench()
    bench.clock.advance(4.9)
    assert bench.link.status().trouble == ""
    bench.clock.advance(0.1)
    assert bench.link.status().trouble == "not connected: the first attempt is under way"


@pytest.mark.anyio
async def test_what_is_released_counts_no_more() -> None:
    bench = await Bench().settled()
    assert bench.sink.mapped == [(b"a", 7), (b"b/c", 8)]
    bench.link.release(["a"], [])
    assert bench.sink.mapped == [(b"b/c", 8)]
    assert bench.table.forgotten == [7]
    assert list(bench.link.symbols) == ["b/c"]


def test_events_are_logged_once_and_counted() -> None:
    with capture_logs() as logged:
        bench = Bench()
        for _ in range(3):
            bench.link._report(Event("symbol refused", ("a",), "no such market"))
    assert [entry["text"] for entry in logged] == ["no such market"]
    assert bench.link._reported[Event("symbol refused", ("a",), "no such market")] == 3
    assert bench.link.status().last_error == "symbol refused: no such market"


@pytest.mark.anyio
async def test_what_the_exchange_withdraws_is_forgotten() -> None:
    bench = await Bench().settled()
    bench.link._report(Event(WITHDRAWN, ("a",)))
    assert bench.table.forgotten == [7]


@pytest.mark.anyio
async def test_what_may_have_been_told_anew_is_doubted() -> None:
    bench = await Bench().settled()
    bench.link._doubt(["b/c", "nobody"])
    assert bench.table.doubted == [8]


@pytest.mark.anyio
async def test_status_before_the_first_connection() -> None:
    status = (await Bench().settled()).link.status()
    assert (status.link, status.connected, status.wanted, status.acked, status.reconnects) == (3, False, 2, 0, 0)
