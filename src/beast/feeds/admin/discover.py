"""Which assets are worth mapping: what the exchanges list beyond the tables, by the volume of 24 hours."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.feeds.following import load_rows
from beast.feeds.rest.exchanges import RestPrices
from beast.feeds.rest.products import DOLLARS, Names, list_products
from beast.feeds.rows.files import Exchange
from beast.feeds.rows.rest import RefusedError, Ticker, read_ticker, ticker_url
from beast.feeds.rows.twin import MalformedError
from beast.feeds.store import FeedStore
from beast.feeds.turns import in_turns
from beast.feeds.types import Mapping

KEPT_NS: Final = 3600 * 10**9
"""So long a volume is not asked for again: who asks for more than there is time for goes on next time."""
SHARE: Final = 0.5
"""Of an exchange's limit; the rest is for those who wait for a price."""

InDollars = Callable[[str], Decimal | None]
"""What one unit of a currency is worth in US dollars, roughly; None when nobody can say."""


class Uncovered(msgspec.Struct, frozen=True, kw_only=True):
    """A market of an asset that its exchange is not mapped to. Figures are decimal texts."""

    exchange: str
    asset: str
    currency: str
    symbol: str
    """As the exchange's list has it."""
    price: str
    volume_24h: str
    """In the asset."""
    quote_volume_24h: str
    """In the currency."""
    usd_volume_24h: str | None
    """By which they are ranked; null when nobody knows the currency's worth."""
    mapped_at: list[str]
    """Exchanges that are mapped to the asset."""


class Searched(msgspec.Struct, kw_only=True):
    """How far one exchange was searched."""

    exchange: str
    listed: int = 0
    """Markets that trade there."""
    unreadable: int = 0
    """Those whose symbols don't say what they are of."""
    uncovered: int = 0
    """Assets that are not mapped."""
    known: int = 0
    """Those of which the volume is known now; a further call goes on with the rest."""
    error: str = ""


class Discovered(msgspec.Struct, frozen=True):
    """The markets with the greatest volumes, and where they were looked for."""

    markets: list[Uncovered]
    exchanges: list[Searched]


class Discovery:
    """Asks exchanges for the volumes of what is not mapped.

    Args:
        store: The rows.
        rest: Asks.
        in_dollars: Makes volumes in different currencies comparable.
        clock: The time.
    """

    def __init__(self, store: FeedStore, rest: RestPrices, in_dollars: InDollars, clock: Clock) -> None:
        self._store = store
        self._rest = rest
        self._in_dollars = in_dollars
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[int, Ticker | None]] = {}
        self.running = False

    async def top(self, limit: int, *, exchange: str | None = None, seconds: float) -> Discovered:
        """The `limit` uncovered assets with the greatest volumes.

        Args:
            limit: How many at most.
            exchange: Only this one; None: all that are on.
            seconds: How long to ask for volumes; what is left is asked for by a further call.
        """
        self.running = True
        try:
            every, _ = await load_rows(self._store)
            self._forget()
            asked = [each for each in every if (each.feed.enabled if exchange is None else each.feed.name == exchange)]
            found = await asyncio.gather(*(self._search(each, every, seconds) for each in asked))
        finally:
            self.running = False
        markets = sorted((market for _, part in found for market in part), key=_rank)
        return Discovered(markets[:limit], [searched for searched, _ in found])

    async def _search(
        self, exchange: Exchange, every: Sequence[Exchange], seconds: float
    ) -> tuple[Searched, list[Uncovered]]:
        searched = Searched(exchange=exchange.feed.name)
        places: dict[str, list[str]] = {}
        for each in every:
            for row in each.assets:
                places.setdefault(row.asset, []).append(each.feed.name)
        candidates: list[Mapping] = []
        try:
            candidates = await self._candidates(exchange, searched)
            candidates.sort(key=lambda row: -len(places.get(row.asset, ())))
            await self._ask(exchange, candidates, self._clock.monotonic_ns() + int(seconds * 1e9))
        except BeastError as error:
            searched.error = str(error)
        markets = []
        for row in candidates:
            _, ticker = self._known.get((row.exchange, row.symbol), (0, None))
            searched.known += (row.exchange, row.symbol) in self._known
            if ticker is not None and ticker.volume_24h:
                markets.append(self._uncovered(row, ticker, places.get(row.asset, [])))
        return searched, markets

    async def _candidates(self, exchange: Exchange, searched: Searched) -> list[Mapping]:
        """One market of each asset that isn't mapped: in the currency that the exchange's rows use most."""
        feed = exchange.feed
        for column in ("rest_ticker_url", "rest_volume_path"):
            if not getattr(feed, column):
                raise BeastError(f"its row has no {column}", where=feed.name)
        symbols = await list_products(self._rest, feed, self._clock)
        searched.listed = len(symbols)
        used = Counter(row.currency for row in exchange.assets)
        names = Names(exchange.assets, used)
        mapped = {row.asset for row in exchange.assets}
        best: dict[str, tuple[tuple[int, bool], Mapping]] = {}
        async for part in in_turns(symbols):
            for symbol in part:
                pair = names.read(symbol)
                if pair is None:
                    searched.unreadable += 1
                elif pair.asset not in mapped:
                    rank = used[pair.currency], pair.currency in DOLLARS
                    row = Mapping(exchange=feed.name, asset=pair.asset, symbol=symbol, currency=pair.currency)
                    if pair.asset not in best or rank > best[pair.asset][0]:
                        best[pair.asset] = rank, row
        searched.uncovered = len(best)
        return [row for _, row in best.values()]

    async def _ask(self, exchange: Exchange, candidates: Sequence[Mapping], until_ns: int) -> None:
        """Learns volumes until the time is over; a failing exchange ends it early, with what is known."""
        feed = exchange.feed
        pause_ns = int(1e9 / (feed.rest_per_second * SHARE))
        for row in candidates:
            if (feed.name, row.symbol) in self._known:
                continue
            started_ns = self._clock.monotonic_ns()
            wait_ns = min(until_ns, started_ns + pause_ns + feed.rest_timeout_ms * 10**6)
            if started_ns + pause_ns > until_ns:
                return
            ticker: Ticker | None = None
            try:
                body = await self._rest.read(feed, ticker_url(feed.rest_ticker_url, row), wait_ns)
                ticker = read_ticker(feed, row, body)
            except (RefusedError, MalformedError):
                pass  # it has none: that is known now
            self._known[feed.name, row.symbol] = self._clock.monotonic_ns(), ticker
            left_ns = started_ns + pause_ns - self._clock.monotonic_ns()
            await asyncio.sleep(max(left_ns, 0) / 1e9)

    def _uncovered(self, row: Mapping, ticker: Ticker, places: list[str]) -> Uncovered:
        quote = Decimal(ticker.volume_24h) * Decimal(ticker.price.decode())
        worth = Decimal(1) if row.currency in DOLLARS else self._in_dollars(row.currency)
        return Uncovered(
            exchange=row.exchange,
            asset=row.asset,
            currency=row.currency,
            symbol=row.symbol,
            price=ticker.price.decode(),
            volume_24h=ticker.volume_24h,
            quote_volume_24h=f"{quote:.2f}" if quote >= 1 else f"{quote:f}",
            usd_volume_24h=None if worth is None else f"{quote * worth:.0f}",
            mapped_at=sorted(places),
        )

    def _forget(self) -> None:
        oldest_ns = self._clock.monotonic_ns() - KEPT_NS
        self._known = {place: known for place, known in self._known.items() if known[0] > oldest_ns}


def _rank(market: Uncovered) -> tuple[bool, Decimal, str, str]:
    """The greatest volume first, the unknown last."""
    usd = market.usd_volume_24h
    return usd is None, -Decimal(usd or 0), market.exchange, market.asset
