"""Looks at one exchange, a draft's or a live one, second by second beside the live exchanges."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from beast._fast import Engine, find_consensus, received_after
from beast.base.clock import Clock
from beast.base.tasks import Tasks
from beast.feeds.manager import FeedManager
from beast.feeds.running import ExchangeStatus, RunningExchange
from beast.feeds.shadow.minute import Facts, Minute, Others
from beast.feeds.shadow.types import Verdict
from beast.feeds.turns import in_turns
from beast.prices.catalogue import Catalogue
from beast.prices.held import held_of
from beast.prices.types import Market, Quote

TURN: Final = 50
"""Assets that one turn of the loop deals with: for each, a price of every exchange is read."""


OLD_NS: Final = 30 * 10**9
"""An older price is compared with nothing, however long the cache calls it live."""


ANSWER_NS: Final = 10 * 10**9
"""So long REST may take."""

Fetch = Callable[[Sequence[Market], int], Awaitable[Quote | None]]


class Prices(NamedTuple):
    """Prices, and what brings them."""

    engine: Engine
    catalogue: Catalogue
    feeds: FeedManager


class Observer:
    """What one exchange comes to, minute by minute.

    Args:
        exchange: Its name.
        own: Where its prices are.
        live: Where those of the others are.
        clock: The time.
        fetch: Asks the exchange for one market by REST, until CLOCK_MONOTONIC ns; None: it is not asked.
    """

    def __init__(self, exchange: str, own: Prices, live: Prices, clock: Clock, fetch: Fetch | None = None) -> None:
        self.exchange = exchange
        self.outlier_bps = 100
        """See the parameter `consensus_outlier_bps`."""
        self._own = own
        self._live = live
        self._clock = clock
        self._fetch = fetch
        self._asking = Tasks()
        self._asked = 0
        self._minute = Minute()
        self._tally = own.feeds.tally(exchange)
        self._looked_ns = clock.monotonic_ns()

    async def look(self) -> None:
        """Compares every price that has come since the last look."""
        since_ns, self._looked_ns = self._looked_ns, self._clock.monotonic_ns()
        async for part in in_turns(received_after(self._own.engine, since_ns), TURN):
            for number in part:
                self._compare(number)
        if not self._minute.has_asked:
            self._ask_by_rest()

    async def end_minute(self, bps: float) -> Verdict:
        """The verdict on the time since the last one; a new minute begins."""
        wanted = {row.asset: row.currency for running in self._running() for row in running.wish.subscribed}
        priced: dict[str, Others] = {}
        async for part in in_turns(list(wanted.items()), TURN):
            for asset, currency in part:
                if others := self.others(asset, currency):
                    priced[asset] = others
        status = self._status()
        tally = self._own.feeds.tally(self.exchange)
        facts = Facts(
            at=datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC),
            trouble=_trouble(status),
            refused=status.refused if status else (),
            tally=tally.since(self._tally),
            wanted=wanted,
            priced=priced,
        )
        minute, self._minute, self._tally = self._minute, Minute(), tally
        return minute.verdict(facts, bps)

    async def stop(self) -> None:
        """Waits for no answer any more."""
        await self._asking.cancel()

    def others(self, asset: str, currency: str) -> Others | None:
        """What the other live exchanges agree on; None when none has a live price."""
        votes = []
        for each in self._live.catalogue.of_asset(asset):
            market = each.market
            if market.exchange == self.exchange or market.currency != currency or not market.weight:
                continue
            held = held_of(self._live.engine, each, self._looked_ns)
            if held is not None and held.state == "live" and self._looked_ns - held.received_ns < OLD_NS:
                votes.append((float(held.price), market.weight, "live"))
        chosen, standings, _ = find_consensus(votes, outlier_bps=self.outlier_bps)
        return None if chosen is None else Others(votes[chosen][0], standings.count("live"))

    def _ask_by_rest(self) -> None:
        """Asks for one asset that others price, another every minute."""
        rows = [
            row.asset
            for running in self._running()
            if self._fetch is not None and running.wish.feed.rest_ticker_url
            for row in running.wish.subscribed
        ]
        for _ in rows[:TURN]:
            self._asked += 1
            instrument = self._own.catalogue.find(self.exchange, rows[self._asked % len(rows)])
            if instrument is not None and self.others(instrument.market.asset, instrument.market.currency):
                self._minute.ask(instrument.market.asset)
                self._asking.spawn("shadow rest", self._hear(self._minute, instrument.market))
                return

    async def _hear(self, minute: Minute, market: Market) -> None:
        assert self._fetch is not None, "nobody is asked else"
        quote = await self._fetch([market], self._clock.monotonic_ns() + ANSWER_NS)
        if quote is None or self._clock.wall_ns() - quote.time_ns > OLD_NS:
            return
        if others := self.others(market.asset, market.currency):
            minute.answer(quote.price.decode(), others)

    def _compare(self, number: int) -> None:
        instrument = self._own.catalogue.instrument(number)
        if instrument is None or instrument.market.exchange != self.exchange:
            return
        now_ns = self._clock.monotonic_ns()
        held = held_of(self._own.engine, instrument, now_ns)
        if held is None or held.by_rest:
            return
        received_wall_ns = self._clock.wall_ns() - now_ns + held.received_ns
        # What came before, but late, is no price of this moment.
        fresh = held.state == "live"
        self._minute.note_time(received_wall_ns - held.time_ns, fresh=fresh)
        others = self.others(instrument.market.asset, instrument.market.currency) if fresh else None
        if others is not None:
            self._minute.compare(instrument.market.asset, held.price, others)

    def _running(self) -> list[RunningExchange]:
        return [each for each in self._own.feeds.running if each.wish.feed.name == self.exchange]

    def _status(self) -> ExchangeStatus | None:
        return next((each for each in self._own.feeds.status() if each.name == self.exchange), None)


def _trouble(status: ExchangeStatus | None) -> str:
    if status is None:
        return "it does not run"
    if not status.connected:
        return f"not connected: {status.last_error or 'the first attempt is under way'}"
    return ""
