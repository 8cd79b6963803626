"""Why an asset's price is what it is: every source there could be, and which one answers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

import msgspec

from beast._fast import Engine, Watch
from beast.base.clock import Clock
from beast.feeds.manager import FeedManager
from beast.feeds.types import Feed
from beast.feeds.types import Mapping as Row
from beast.feeds.watch.health import FeedsHealth, SymbolHealth
from beast.feeds.watch.verdict import State
from beast.prices.catalogue import Catalogue
from beast.prices.consensus import NAME as CONSENSUS
from beast.prices.held import Held, held_of
from beast.prices.types import Instrument, Market
from beast.storage.database import Database, DatabaseUnavailableError
from beast.storage.queries import Queries

NEAR: Final = 5
"""How many names are suggested for one that nobody knows."""
NEAR_FROM: Final = 500
"""How many names are compared: comparing takes some µs each."""

_QUERIES = Queries("beast.feeds")
_ANSWERS: Final = {"live", "quiet"}


class UnknownAssetError(LookupError):
    """No price is kept for this asset; `near` are names like it."""

    def __init__(self, asset: str, near: list[str]) -> None:
        super().__init__(asset)
        self.near = near


class RowVersion(msgspec.Struct, frozen=True, kw_only=True):
    """An asset's row at one exchange, as the database has it."""

    exchange: str
    symbol: str
    currency: str
    enabled: bool
    exchange_enabled: bool
    prewarm: bool
    priority: int
    exchange_updated_at: datetime
    updated_at: datetime


class KeptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of an exchange's rows, as far as it concerns one asset."""

    exchange: str
    number: int
    at: datetime
    who: str
    feed: dict[str, Any]
    mapping: dict[str, Any]

    def says(self, row: tuple[Feed, Row]) -> bool:
        """Whether it is what runs."""
        mapping = {**self.mapping, "exchange": self.exchange, "category": self.mapping.get("category") or ""}
        try:
            return (msgspec.convert(self.feed, Feed), msgspec.convert(mapping, Row)) == row
        except msgspec.ValidationError:
            return False  # of a Beast whose rows had other columns


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange's word."""

    exchange: str
    symbol: str
    currency: str
    priority: int
    answers: bool
    """It is the one that a request without `exchange` is answered from."""
    why: str
    """Why it answers, or doesn't."""
    price: str | None
    """As the exchange wrote it."""
    last_trade: datetime | None
    """By the exchange's clock."""
    age_ms: int | None
    """Since it was received."""
    state: str | None
    """live, quiet or stale; None: there is no price."""
    by_rest: bool
    link_up: bool
    link_proven_age_ms: int | None
    """Since its connection's last sign of life; None: there was none."""
    over_this_link: bool
    """The price came over the connection that is open now."""
    feed: State
    """What the watchdog says."""
    feed_why: str
    expected_silence_ms: int | None
    held: int
    """Prices that were held back until others confirmed them."""
    waiting: int
    """Prices held back now."""
    consensus: str
    """Why it has no part in the consensus; `used`: it has; empty: there is no consensus it could be part of."""
    row_updated_at: datetime | None
    exchange_updated_at: datetime | None
    version: int | None
    """The version of the exchange's rows that is in force here; None: none of the last says what runs."""
    version_at: datetime | None
    version_by: str


class _RowsOf(NamedTuple):
    """The rows that a source is priced by."""

    changed: RowVersion | None
    """As the database has them."""
    in_force: KeptVersion | None


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of GET /admin/why."""

    asset: str
    answer: msgspec.Raw
    """What a client would be told that allows stale prices."""
    tier: int | None
    """Which tier would answer now; None: nobody knows before tier 2 and 3 are asked."""
    why: str
    consensus: msgspec.Raw | None
    """What a client would be told that asks for the consensus; None: there is none."""
    sources: list[Source]
    rows_from: str
    """`database`, or `memory` when that is away: row versions and rows that are switched off are missing then."""


class Explainer:
    """Explains prices.

    Args:
        engine: Memory.
        catalogue: What can be asked for.
        feeds: The rows in force.
        health: What the watchdog says.
        database: Where the rows are.
        clock: The time.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        feeds: FeedManager,
        health: FeedsHealth,
        *,
        database: Database,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._feeds = feeds
        self._health = health
        self._database = database
        self._clock = clock

    async def explain(self, asset: str) -> Why:
        """Everything about one asset, its name in capitals. Raises UnknownAssetError."""
        rows, kept = await self._rows(asset)
        health = {each.exchange: each async for _, found in self._health.read(asset=asset) for each in found}
        instruments = self._catalogue.of_asset(asset)
        if not instruments and not rows:
            raise UnknownAssetError(asset, self._near(asset))
        answer, consensus = self._ask(asset)
        told = msgspec.json.decode(answer)
        parts = _parts(msgspec.json.decode(consensus)) if consensus else {}
        versions = {row.exchange: row for row in rows or ()}
        sources = []
        for each in instruments:
            name = each.market.exchange
            rows_of = _RowsOf(versions.get(name), self._in_force(each.market, kept))
            sources.append(self._source(each, told, health.get(name), parts, rows_of))
        used = {each.market.exchange for each in instruments}
        sources += [_switched_off(row) for row in rows or () if row.exchange not in used]
        tier, why = self._tier(told, sources)
        return Why(
            asset=asset,
            answer=msgspec.Raw(answer),
            tier=tier,
            why=why,
            consensus=msgspec.Raw(consensus) if consensus else None,
            sources=sources,
            rows_from="memory" if rows is None else "database",
        )

    async def _rows(self, asset: str) -> tuple[list[RowVersion] | None, list[KeptVersion]]:
        exchanges = [each.market.exchange for each in self._catalogue.of_asset(asset)]
        values = {"asset": asset, "exchanges": exchanges}
        try:
            rows = await self._database.fetch(_QUERIES["asset_rows"], values, row=RowVersion)
            return rows, await self._database.fetch(_QUERIES["asset_versions"], values, row=KeptVersion)
        except DatabaseUnavailableError:
            return None, []

    def _ask(self, asset: str) -> tuple[bytes, bytes | None]:
        """The workers' own answers: of the best source, and of the consensus where there is one."""
        watch = Watch(self._engine)
        _, answer = watch.read(watch.add(asset))
        if self._catalogue.find(CONSENSUS, asset) is None:
            return answer, None
        return answer, watch.read(watch.add(asset, CONSENSUS))[1]

    def _source(
        self,
        instrument: Instrument,
        told: Mapping[str, Any],
        health: SymbolHealth | None,
        parts: Mapping[str, str],
        rows: _RowsOf,
    ) -> Source:
        market, held = instrument.market, held_of(self._engine, instrument, self._clock.monotonic_ns())
        up, epoch, proven_ns = self._engine.link_state(instrument.link)
        row = self._feeds.row(market.exchange, market.asset)
        version, in_force = rows
        answers = told.get("exchange") == market.exchange and told.get("state") in _ANSWERS
        return Source(
            exchange=market.exchange,
            symbol=row[1].symbol if row else "",
            currency=market.currency,
            priority=market.priority,
            answers=answers,
            why=_reason(held, told, answers=answers),
            price=held.price if held else None,
            last_trade=datetime.fromtimestamp(held.time_ns / 1e9, UTC) if held else None,
            age_ms=self._age_ms(held.received_ns) if held else None,
            state=held.state if held else None,
            by_rest=held is not None and held.by_rest,
            link_up=up,
            link_proven_age_ms=self._age_ms(proven_ns),
            over_this_link=held is not None and up and held.epoch == epoch,
            feed=health.state if health else State.UNSUBSCRIBED,
            feed_why=health.why if health else "no connection brings it; REST is asked when a client asks",
            expected_silence_ms=health.expected_silence_ms if health else None,
            held=health.held if health else 0,
            waiting=health.waiting if health else 0,
            consensus=parts.get(market.exchange, ""),
            row_updated_at=version.updated_at if version else None,
            exchange_updated_at=version.exchange_updated_at if version else None,
            version=in_force.number if in_force else None,
            version_at=in_force.at if in_force else None,
            version_by=in_force.who if in_force else "",
        )

    def _in_force(self, market: Market, kept: Sequence[KeptVersion]) -> KeptVersion | None:
        """The newest version that says of a market what runs here."""
        row = self._feeds.row(market.exchange, market.asset)
        of_exchange = (each for each in kept if each.exchange == market.exchange)
        return next((each for each in of_exchange if row is not None and each.says(row)), None)

    def _tier(self, told: Mapping[str, Any], sources: Sequence[Source]) -> tuple[int | None, str]:
        if told.get("state") in _ANSWERS:
            return int(told["tier"]), f"memory has a {told['state']} price of {told['exchange']}"
        if any(each.over_this_link and each.state != "stale" for each in sources):
            return None, "a connection that is proven alive has nothing fresher: no slower tier is asked"
        asked = [
            each.exchange
            for each in sources
            if (row := self._feeds.row(each.exchange, str(told.get("asset", "")))) and row[0].rest_ticker_url
        ]
        return (
            None,
            f"memory has none: tier 2 is asked where there is one, then by REST: {', '.join(asked) or 'nobody'}",
        )

    def _near(self, asset: str) -> list[str]:
        names = {each.market.asset for each in self._catalogue.instruments()}
        alike = sorted(each for each in names if each[:1] == asset[:1] or asset in each)
        return get_close_matches(asset, alike[:NEAR_FROM], NEAR, 0.5)

    def _age_ms(self, at_ns: int) -> int | None:
        return max(self._clock.monotonic_ns() - at_ns, 0) // 10**6 if at_ns else None


def _parts(consensus: Mapping[str, Any]) -> dict[str, str]:
    """What became of each exchange in the consensus."""
    excluded = {each["exchange"]: each["reason"] for each in consensus.get("sources_excluded", ())}
    return dict.fromkeys(consensus.get("sources_used", ()), "used") | excluded


def _reason(held: Held | None, told: Mapping[str, Any], *, answers: bool) -> str:
    """Why a source answers or doesn't, by docs/protocol.md, section 3."""
    if held is None:
        return "it has no price yet"
    if answers:
        return f"the first {held.state} one in order of priority"
    if held.state == "stale":
        return "stale: no trade within the cache TTL, and its connection doesn't prove that there was none"
    if held.state == "quiet" and told.get("state") == "live":
        return f"quiet, and {told['exchange']} is live"
    return f"{held.state}, but {told.get('exchange', 'another')} comes first in order of priority"


def _switched_off(row: RowVersion) -> Source:
    why = "the exchange is switched off" if not row.exchange_enabled else "its row is switched off"
    if row.enabled and row.exchange_enabled:
        why = "its rows are not in force: see beast status"
    return Source(
        exchange=row.exchange,
        symbol=row.symbol,
        currency=row.currency,
        priority=row.priority,
        answers=False,
        why=why,
        price=None,
        last_trade=None,
        age_ms=None,
        state=None,
        by_rest=False,
        link_up=False,
        link_proven_age_ms=None,
        over_this_link=False,
        feed=State.UNSUBSCRIBED,
        feed_why=why,
        expected_silence_ms=None,
        held=0,
        waiting=0,
        consensus="",
        row_updated_at=row.updated_at,
        exchange_updated_at=row.exchange_updated_at,
        version=None,
        version_at=None,
        version_by="",
    )
