"""What the watchdog knows, for people: every connection and every symbol, its state and why."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import msgspec

from beast._fast import Engine
from beast.base.clock import Clock
from beast.feeds.link.link import Link
from beast.feeds.manager import FeedManager
from beast.feeds.running import RunningExchange
from beast.feeds.watch.verdict import State
from beast.feeds.watch.watchdog import Watchdog, Watched

_MS: Final = 10**6


class SymbolHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol of one connection."""

    exchange: str
    connection: int
    symbol: str
    asset: str
    state: State
    why: str
    last_trade: datetime | None
    """When it was received."""
    last_trade_age_ms: int | None
    trades: int
    """Since the subscription, each newer than the one before."""
    interval_ms: int | None
    """Smoothed, between two trades; None: not yet known."""
    expected_silence_ms: int | None
    """After which it counts as quiet; None: not yet known."""
    gaps_today: int
    """Of its own and of its connection, since midnight UTC."""
    revivals: int
    """How often it was silent for so long that it was subscribed anew."""
    reconnects: int
    """Of its connection."""
    held: int
    """Prices held back until others confirmed them."""
    waiting: int
    """Prices held back now."""


class ConnectionHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One connection."""

    exchange: str
    connection: int
    state: State
    why: str
    heard_age_ms: int | None
    """Since its last sign of life; None: there was none."""
    symbols: dict[str, int]
    """How many are in which state."""
    gaps_today: int
    """Of the connection as a whole."""
    reconnects: int
    cuts: int
    """How often it was replaced lately for being silent."""
    last_error: str


class FeedsHealth:
    """Reads the watchdog.

    Args:
        feeds: The exchanges that run.
        watchdog: Watches them.
        engine: Where links are.
        clock: The time.
    """

    def __init__(self, feeds: FeedManager, watchdog: Watchdog, engine: Engine, clock: Clock) -> None:
        self._feeds = feeds
        self._watchdog = watchdog
        self._engine = engine
        self._clock = clock

    @property
    def gaps_waiting(self) -> int:
        """Gaps that are not yet with the database."""
        return self._watchdog.book.waiting

    @property
    def gaps_lost(self) -> int:
        """Gaps that found no room while the database was away."""
        return self._watchdog.book.lost

    async def read(
        self, exchange: str | None = None, asset: str | None = None
    ) -> AsyncIterator[tuple[ConnectionHealth, list[SymbolHealth]]]:
        """Every connection with its symbols; of one exchange, one asset only when given."""
        for running in self._feeds.running:
            if exchange not in {None, running.wish.feed.name}:
                continue
            for number, link in list(running.links.items()):
                if asset is not None and all(each.row.asset != asset for each in link.wired):
                    continue
                watched = await self._watchdog.watched(link)
                connection = self._connection(running, number, link, watched)
                chosen = [each for each in watched if asset in {None, each.wired.row.asset}]
                yield connection, [self._symbol(connection, each) for each in chosen]

    def _connection(
        self, running: RunningExchange, number: int, link: Link, watched: list[Watched]
    ) -> ConnectionHealth:
        name, status = running.wish.feed.name, link.status()
        verdict = self._watchdog.judge_link(link, watched)
        states: dict[str, int] = {}
        for each in watched:
            states[each.verdict.state] = states.get(each.verdict.state, 0) + 1
        return ConnectionHealth(
            exchange=name,
            connection=number,
            state=verdict.state,
            why=verdict.why,
            heard_age_ms=self._age_ms(status.heard_ns),
            symbols=states,
            gaps_today=self._watchdog.book.today(name, number, ""),
            reconnects=status.reconnects,
            cuts=self._watchdog.cuts(name, number),
            last_error=status.last_error,
        )

    def _symbol(self, connection: ConnectionHealth, each: Watched) -> SymbolHealth:
        row, rhythm = each.wired.row, each.rhythm
        expected_ns = rhythm.expected_ns()
        return SymbolHealth(
            exchange=connection.exchange,
            connection=connection.connection,
            symbol=row.symbol,
            asset=row.asset,
            state=each.verdict.state,
            why=each.verdict.why,
            last_trade=self._watchdog.book.time(each.received_ns) if each.received_ns else None,
            last_trade_age_ms=self._age_ms(each.received_ns),
            trades=rhythm.trades,
            interval_ms=rhythm.interval_ns // _MS if rhythm.trades > 1 else None,
            expected_silence_ms=None if expected_ns is None else expected_ns // _MS,
            gaps_today=self._watchdog.book.today(connection.exchange, connection.connection, row.symbol),
            revivals=each.revivals,
            reconnects=connection.reconnects,
            held=each.held,
            waiting=each.waiting,
        )

    def _age_ms(self, at_ns: int) -> int | None:
        return max(self._clock.monotonic_ns() - at_ns, 0) // _MS if at_ns else None
