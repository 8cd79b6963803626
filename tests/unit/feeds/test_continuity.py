"""Numbers without a gap, with one, and told again: through the compiled hot path."""

import time
from typing import Any

import msgspec
import pytest
from tests.fixtures.feeds import feed

from beast._fast import Engine, Ingest, Plan
from beast.feeds.rows.plan import compile_plan

S = 10**9


class Bench:
    def __init__(self, **columns: Any) -> None:
        engine = Engine(node="test", max_instruments=8)
        engine.load_instruments([(0, "A", "test", "USD", 1, 0), (1, "B", "test", "USD", 1, 0)])
        plan = Plan(compile_plan(feed("ws://127.0.0.1/", **columns)))
        self.ingest = Ingest(engine, plan, 0, backfill_ns=5 * S)
        self.ingest.set_symbols([(b"A", 0), (b"B", 1)])
        self.ingest.set_epoch(engine.link_up(0, 30 * S, time.monotonic_ns()))
        self.now_ns = S

    def take(self, *numbers: int, **frame: object) -> list[tuple[int | None, int, int, int, int]]:
        for number in numbers:
            self.now_ns += S
            shown = {"e": "trade", "s": "A", "p": "1", "n": number} | frame
            self.ingest.feed(msgspec.json.encode(shown), self.now_ns, time.time_ns())
        return self.ingest.take_gaps()


@pytest.fixture
def by_symbol() -> Bench:
    return Bench(sequence_scope="symbol", sequence_path="n")


@pytest.fixture
def by_connection() -> Bench:
    return Bench(sequence_scope="connection", sequence_path="n")


def test_a_symbols_trades_are_followed_one_by_one(by_symbol: Bench) -> None:
    assert by_symbol.take(7, 8, 9) == []
    assert by_symbol.take(100, s="B") == []
    assert by_symbol.take(13) == [(0, 10, 12, 4 * S, 6 * S)]
    assert by_symbol.take() == []
    assert by_symbol.take(12, 13, 14) == []  # told again by a snapshot
    assert by_symbol.take(102, s="B") == [(1, 101, 101, 5 * S, 10 * S)]


def test_a_new_connection_goes_on_where_a_symbol_was(by_symbol: Bench) -> None:
    by_symbol.take(7)
    by_symbol.ingest.set_epoch(2)
    assert [gap[:3] for gap in by_symbol.take(17)] == [(0, 8, 16)]


def test_a_connections_frames_are_followed_whatever_they_bring(by_connection: Bench) -> None:
    assert by_connection.take(0, 1) == []
    assert by_connection.take(2, e="heartbeat") == []
    assert by_connection.take(3, 6, s="B") == [(None, 4, 5, 5 * S, 6 * S)]
    assert by_connection.take(0, 1) == []  # another connection begins anew
    assert by_connection.take(5) == [(None, 2, 4, 8 * S, 9 * S)]


def test_more_gaps_than_there_is_room_for_are_not_kept(by_symbol: Bench) -> None:
    assert len(by_symbol.take(*range(0, 400, 2))) == 64
    assert len(by_symbol.take(500)) == 1
