import ssl
from random import Random

import msgspec
import pytest
from structlog.testing import capture_logs

from beast.base.clock import ManualClock
from beast.feeds.classify import Answer
from beast.feeds.connection import End
from beast.feeds.link import HEALTHY_NS, Gate, Link
from beast.feeds.subscription import WITHDRAWN, Event
from beast.feeds.types import Feed, Mapping


class Table:
    """A price table with one link that nobody brings up."""

    def link_up(self, _link: int, _patience_ns: int, _now_ns: int) -> int:
        return 1

    def link_proven(self, _link: int, _now_ns: int) -> None:
        pass

    def link_down(self, _link: int) -> None:
        pass

    def link_state(self, _link: int) -> tuple[bool, int, int]:
        return False, 0, 0

    def count(self, name: str, n: int = 1) -> None:
        pass


class Sink:
    def set_epoch(self, epoch: int) -> None:
        pass

    def feed(self, _frame: bytes | memoryview, _received_ns: int, _wall_ns: int) -> int:
        return 0


class Widest(Random):
    """Every delay is the longest that full jitter may draw."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.forgotten: list[object] = []
        row = {"name": "x", "ws_url": "ws://h", "trade_filter": [], "price_path": "p", "symbol_path": "s"}
        self.link = Link(
            msgspec.convert(row, Feed),
            "ws://h/{SYMBOLS:+}",
            [Mapping(asset="A", symbol="a", currency="USD"), Mapping(asset="B", symbol="b/c", currency="USD")],
            number=3,
            table=Table(),
            sink=Sink(),
            classify=lambda _frame: Answer("ignored"),
            forget=self.forgotten.append,
            gate=Gate(0, self.clock),
            clock=self.clock,
            rng=Widest(),
            tls=ssl.create_default_context(),
        )

    def pause(self, *, lasted_ns: int, planned: bool = False) -> float:
        """How long it waits after a connection that lasted so long."""
        connection = self.link._new_connection()
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


def test_delays_grow_to_a_minute_and_start_again_after_a_healthy_connection() -> None:
    bench = Bench()
    assert [bench.pause(lasted_ns=10**9) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [bench.pause(lasted_ns=12 * 10**9), bench.pause(lasted_ns=0)] == [1, 2]


def test_a_planned_end_costs_no_delay_unless_it_comes_at_once() -> None:
    bench = Bench()
    assert bench.pause(lasted_ns=HEALTHY_NS, planned=True) == 0
    assert bench.link.status().last_error == ""
    assert bench.pause(lasted_ns=10**9, planned=True) == 1
    assert bench.pause(lasted_ns=10**9) == 2
    assert bench.link.status().last_error == "why"


def test_streams_stand_in_the_url() -> None:
    assert Bench().link._url == "ws://h/a+b%2Fc"


def test_events_are_logged_once_and_counted() -> None:
    with capture_logs() as logged:
        bench = Bench()
        for _ in range(3):
            bench.link._report(Event("symbol refused", ("a",), "no such market"))
    assert [entry["text"] for entry in logged] == ["no such market"]
    assert bench.link._reported[Event("symbol refused", ("a",), "no such market")] == 3
    assert bench.link.status().last_error == "symbol refused: no such market"


def test_what_the_exchange_withdraws_is_forgotten() -> None:
    bench = Bench()
    bench.link._report(Event(WITHDRAWN, ("a",)))
    assert bench.forgotten == [("a",)]


def test_status_before_the_first_connection() -> None:
    status = Bench().link.status()
    assert (status.link, status.connected, status.wanted, status.acked, status.reconnects) == (3, False, 2, 0, 0)
