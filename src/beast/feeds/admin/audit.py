"""The prewarm audit: whether what is to be subscribed from the start is listed, subscribed, priced and answered."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
import structlog

from beast._fast import Engine
from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.base.tasks import Tasks
from beast.feeds.following import load_rows
from beast.feeds.manager import FeedManager
from beast.feeds.rest.exchanges import RestPrices
from beast.feeds.rest.products import Names, list_products
from beast.feeds.rows.files import Exchange
from beast.feeds.store import FeedStore
from beast.feeds.turns import in_turns
from beast.feeds.types import Mapping
from beast.prices.catalogue import Catalogue

KEPT: Final = 10
"""Audits whose results can still be asked for."""
TOLD_MAX: Final = 1_000
"""Findings told of one layer."""
SETTLE_S: Final = 2.5
"""Changed rows are in force by then: what still differs is drift."""
ASKED_MAX: Final = 30
"""Assets of one request to the price API."""

State = Literal["live", "quiet", "stale", "none"]
Ask = Callable[[str, Sequence[str]], Awaitable[dict[str, str]]]
"""Asks the price API for assets of one exchange; what is wrong with the answers, by asset."""
PriceApi = Callable[[], AbstractAsyncContextManager[Ask]]

_log = structlog.get_logger("beast.feeds")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    exchange: str
    asset: str = ""
    symbol: str = ""
    problem: str


class Layer(msgspec.Struct, kw_only=True):
    """One of the four examinations."""

    name: Literal["products", "drift", "freshness", "price_api"]
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    checked: int = 0
    found: int = 0
    """Findings, of which the first TOLD_MAX are told."""
    findings: list[Finding] = []
    error: str = ""
    """Why it could not be done."""

    def find(self, row: Mapping, problem: str) -> None:
        """One more finding, of one asset."""
        self.tell(Finding(exchange=row.exchange, asset=row.asset, symbol=row.symbol, problem=problem))

    def tell(self, finding: Finding) -> None:
        """One more finding."""
        self.found += 1
        if self.found <= TOLD_MAX:
            self.findings.append(finding)


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How old the price of a prewarmed asset was."""

    exchange: str
    asset: str
    state: State
    age_ms: int | None
    """Since its last trade was received; null: there was none."""


class Audit(msgspec.Struct, kw_only=True):
    """An audit and how far it has come."""

    id: str
    state: Literal["running", "done", "failed"] = "running"
    """`failed`: a layer could not be done; what is wrong with prices is found."""
    started_at: datetime
    ended_at: datetime | None = None
    assets: int = 0
    """Prewarmed ones, at each exchange that is on: each layer checks them all."""
    found: int = 0
    layers: list[Layer]
    freshness: list[Freshness] = []


class Audits:
    """Runs one audit at a time, in the background.

    Args:
        store: The rows.
        feeds: The live subscriptions.
        rest: Asks the exchanges.
        engine: Where prices are.
        catalogue: Says where each market's are.
        price_api: Opens what the smoke test asks.
        clock: The time.
    """

    def __init__(
        self,
        store: FeedStore,
        feeds: FeedManager,
        rest: RestPrices,
        *,
        engine: Engine,
        catalogue: Catalogue,
        price_api: PriceApi,
        clock: Clock,
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._rest = rest
        self._engine = engine
        self._catalogue = catalogue
        self._price_api = price_api
        self._clock = clock
        self._audits: OrderedDict[str, Audit] = OrderedDict()
        self._tasks = Tasks()

    def start(self) -> tuple[Audit, bool]:
        """The audit that runs now, and whether it was begun by this call."""
        for audit in self._audits.values():
            if audit.state == "running":
                return audit, False
        names: tuple[Literal["products", "drift", "freshness", "price_api"], ...]
        names = ("products", "drift", "freshness", "price_api")
        audit = Audit(id=uuid.uuid4().hex, started_at=self._now(), layers=[Layer(name=name) for name in names])
        self._audits[audit.id] = audit
        while len(self._audits) > KEPT:
            self._audits.popitem(last=False)
        self._tasks.spawn("exchange audit", self._run(audit))
        return audit, True

    def find(self, audit_id: str) -> Audit | None:
        """One of the last ten."""
        return self._audits.get(audit_id)

    async def stop(self) -> None:
        """Ends the one that runs."""
        await self._tasks.cancel()

    async def _run(self, audit: Audit) -> None:
        try:
            exchanges = await self._exchanges()
            audit.assets = sum(len(each.assets) for each in exchanges)
            checks = (self._products, self._drift, self._freshness, self._smoke)
            for layer, check in zip(audit.layers, checks, strict=True):
                layer.state = "running"
                try:
                    await check(audit, layer, exchanges)
                    layer.state = "done"
                except Exception as error:  # noqa: BLE001 - whatever it is, the other layers say what they can
                    layer.state, layer.error = "failed", _words(error)
                audit.found += layer.found
            failed = any(layer.state == "failed" for layer in audit.layers)
            audit.state = "failed" if failed else "done"
        except BeastError as error:
            audit.state = "failed"
            audit.layers[0].state, audit.layers[0].error = "failed", _words(error)
        finally:
            if audit.state == "running":
                audit.state = "failed"  # the server stops
            audit.ended_at = self._now()
            _log.info("exchange audit", id=audit.id, state=audit.state, assets=audit.assets, found=audit.found)

    async def _exchanges(self) -> list[Exchange]:
        """Those that are on, each with what is to be subscribed from the start."""
        rows, _ = await load_rows(self._store)
        return [
            Exchange(each.feed, tuple(row for row in each.assets if row.enabled and row.prewarm))
            for each in rows
            if each.feed.enabled
        ]

    async def _products(self, _: Audit, layer: Layer, exchanges: Sequence[Exchange]) -> None:
        """Layer 1: what the exchange itself says that it trades."""
        await asyncio.gather(*(self._listed(layer, each) for each in exchanges))

    async def _listed(self, layer: Layer, exchange: Exchange) -> None:
        try:
            symbols = await list_products(self._rest, exchange.feed, self._clock)
        except BeastError as error:
            layer.tell(Finding(exchange=exchange.feed.name, problem=str(error)))
            return
        names = Names(exchange.assets, {row.currency for row in exchange.assets})
        listed: set[object] = set()
        async for part in in_turns(symbols):
            listed.update(symbol.upper() for symbol in part)
            listed.update(names.read(symbol) for symbol in part)
        async for rows in in_turns(exchange.assets):
            for row in rows:
                layer.checked += 1
                # Some lists write a symbol otherwise than the subscription: what it means decides then.
                if row.symbol.upper() not in listed and (row.asset, row.currency) not in listed:
                    layer.find(row, "the exchange's own list of products has it not, or not as trading")

    async def _drift(self, _: Audit, layer: Layer, exchanges: Sequence[Exchange]) -> None:
        """Layer 2: the table beside the live subscriptions."""
        found = self._differences(exchanges)
        if found:  # perhaps rows that changed just now
            await asyncio.sleep(SETTLE_S)
            exchanges = await self._exchanges()
            found = self._differences(exchanges)
        for finding in found:
            layer.tell(finding)
        layer.checked = sum(len(each.assets) for each in exchanges)

    def _differences(self, exchanges: Sequence[Exchange]) -> list[Finding]:
        status = {each.name: each for each in self._feeds.status()}
        found = []
        for exchange in exchanges:
            name = exchange.feed.name
            now = status.get(name)
            if now is None or not now.connected:
                found.append(Finding(exchange=name, problem=f"is not connected: {now.last_error if now else 'off'}"))
            refused = set(now.refused) if now else set()
            live = self._feeds.symbols(name)
            for row in exchange.assets:
                here = {"exchange": name, "asset": row.asset, "symbol": row.symbol}
                if row.symbol not in live:
                    found.append(Finding(**here, problem="the table wants it, but it is not subscribed"))
                elif row.symbol in refused:
                    found.append(Finding(**here, problem="the exchange refused its subscription"))
            wanted = {row.symbol for row in exchange.assets}
            found += [
                Finding(exchange=name, symbol=symbol, problem="is subscribed, but the table has it not")
                for symbol in sorted(live - wanted)
            ]
            if now and not found and now.acked + len(refused) < now.wanted:
                missing = now.wanted - now.acked - len(refused)
                found.append(Finding(exchange=name, problem=f"{missing} subscriptions are not acknowledged"))
        return found

    async def _freshness(self, audit: Audit, layer: Layer, exchanges: Sequence[Exchange]) -> None:
        """Layer 3: how old each prewarmed asset's price is."""
        async for part in in_turns([row for each in exchanges for row in each.assets]):
            for row in part:
                layer.checked += 1
                instrument = self._catalogue.find(row.exchange, row.asset)
                held = self._engine.peek(instrument.id) if instrument else None
                age_ms = max(self._clock.monotonic_ns() - int(str(held["received_ns"])), 0) // 10**6 if held else None
                state = msgspec.convert(held["state"] if held else "none", State)
                fresh = Freshness(exchange=row.exchange, asset=row.asset, state=state, age_ms=age_ms)
                audit.freshness.append(fresh)
                if fresh.state in {"stale", "none"}:
                    problem = "no trade was received yet" if age_ms is None else f"its price is stale, {age_ms} ms old"
                    layer.find(row, problem)

    async def _smoke(self, _: Audit, layer: Layer, exchanges: Sequence[Exchange]) -> None:
        """Layer 4: the price API, asked for each of them as a client would."""
        async with self._price_api() as ask:
            for exchange in exchanges:
                async for part in in_turns(exchange.assets, ASKED_MAX):
                    problems = await ask(exchange.feed.name, [row.asset for row in part])
                    layer.checked += len(part)
                    for row in part:
                        if problem := problems.get(row.asset):
                            layer.find(row, problem)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
