"""Which exchanges run: the rows as they are wanted, against the connections as they are."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from random import Random, SystemRandom

import msgspec
import structlog

from beast._fast import Engine, Ingest, Plan
from beast.base.clock import Clock, SystemClock
from beast.base.errors import BeastError
from beast.base.tasks import Tasks
from beast.feeds.classify import Classifier
from beast.feeds.link import Gate, Link
from beast.feeds.plan import compile_plan, fold
from beast.feeds.rows import Exchange, RowsError, Unreadable, validate
from beast.feeds.types import Feed, Mapping
from beast.prices.catalogue import Catalogue
from beast.prices.types import Market

BACKFILL_NS = 5 * 10**9
"""Unless set_backfill() says otherwise, in ns."""
GIVE_UP_NS = 20 * 10**9
"""How long `ready` waits for an exchange's first price, in ns."""

Urls = Callable[[str, str], str]
"""Where to connect, by an exchange's name and its `ws_url`."""


class ExchangeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one exchange fares, all its connections taken together."""

    name: str
    connected: bool
    """Every connection is open."""
    connections: int
    since: datetime | None = None
    """When the youngest connection was opened; None unless connected."""
    wanted: int = 0
    acked: int = 0
    refused: tuple[str, ...] = ()
    last_frame_age_ms: int | None = None
    """Since the last sign of life; None: never."""
    reconnects: int = 0
    last_error: str = ""


class _Wish(msgspec.Struct, frozen=True):
    """An exchange as it is to run."""

    feed: Feed
    mappings: tuple[Mapping, ...]
    url: str
    plan: Plan

    @property
    def subscribed(self) -> list[Mapping]:
        """What the connections ask for; the rest waits until a slower tier is asked."""
        return [mapping for mapping in self.mappings if mapping.prewarm]

    @property
    def parts(self) -> list[Sequence[Mapping]]:
        """What each connection asks for."""
        size = self.feed.symbols_per_connection or len(self.subscribed) or 1
        return [self.subscribed[start : start + size] for start in range(0, len(self.subscribed), size)]

    @property
    def wiring(self) -> object:
        """Equal as long as the connections may stay as they are."""
        feed = msgspec.structs.replace(self.feed, display_name="", priority=0)
        return feed, self.url, [(mapping.symbol, mapping.key, mapping.asset) for mapping in self.subscribed]

    def markets(self) -> list[Market]:
        """The exchange as the price table sees it."""
        connection = {mapping.asset: number for number, part in enumerate(self.parts) for mapping in part}
        return [
            Market(
                exchange=self.feed.name,
                asset=mapping.asset,
                currency=mapping.currency,
                priority=self.feed.priority,
                connection=connection.get(mapping.asset, 0),
                category=mapping.category,
            )
            for mapping in self.mappings
        ]


class _Running:
    """An exchange whose links are at work."""

    def __init__(self, wish: _Wish, links: Sequence[Link], ingests: Sequence[Ingest], started_ns: int) -> None:
        self.wish = wish
        self.links = links
        self.ingests = ingests
        self.started_ns = started_ns
        self.has_price = False
        self.tasks = Tasks()
        for number, link in enumerate(links):
            self.tasks.spawn(f"feed {wish.feed.name} {number}", link.run())


class FeedManager:
    """Runs every enabled exchange of the rows it was last given.

    Args:
        engine: Where prices go.
        catalogue: Gives markets their places in the engine.
        urls: Says where to connect instead, for a simulator.
        clock: The time.
        rng: For the jitter between attempts.
        tls: For wss; the machine's trust store unless given.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        *,
        urls: Urls | None = None,
        clock: Clock | None = None,
        rng: Random | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._urls = urls
        self._backfill_ns = BACKFILL_NS
        self._clock = clock or SystemClock()
        self._rng = rng or SystemRandom()
        self._tls = tls or ssl.create_default_context()  # once: it reads the whole trust store
        self._running: dict[str, _Running] = {}
        self._faults: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._stopped = False
        self._log = structlog.get_logger("beast.feeds")

    async def apply(self, rows: Sequence[Exchange], unreadable: Sequence[Unreadable] = ()) -> None:
        """Makes what runs agree with `rows`: starts, stops and reconnects only what differs.

        An exchange whose rows can't run is reported and left as it was. After stop() nothing is started any more.

        Args:
            rows: All exchanges that can be read.
            unreadable: The others.

        Raises:
            ValueError: The markets don't fit the price table; nothing has changed.
        """
        async with self._lock:
            if self._stopped:
                return
            wishes = await self._wishes(rows, unreadable)
            markets = [market for wish in wishes.values() for market in wish.markets()]
            self._catalogue.check(markets)
            # Stopped first: what a connection brings must not be told as another market's price.
            await self._stop(
                [name for name, running in self._running.items() if not _goes_on(running, wishes.get(name))]
            )
            self._catalogue.load(markets, {name: wish.feed.display_name for name, wish in wishes.items()})
            for name, wish in wishes.items():
                await asyncio.sleep(0)
                if name in self._running:
                    self._running[name].wish = wish
                else:
                    self._running[name] = self._start(wish)

    def set_backfill(self, backfill_ms: int) -> None:
        """A trade that is further behind the clock than this counts from its own time, from now on."""
        self._backfill_ns = backfill_ms * 10**6
        for running in self._running.values():
            for ingest in running.ingests:
                ingest.set_backfill_ns(self._backfill_ns)

    async def stop(self) -> None:
        """Closes every connection, for good. The prices stay as they are."""
        async with self._lock:
            self._stopped = True
            await self._stop(list(self._running))

    def ready(self) -> bool:
        """Whether every exchange that runs has a price, or has been waited for long enough."""
        return all(self._is_ready(running) for running in self._running.values())

    def status(self) -> list[ExchangeStatus]:
        """How every exchange fares, those that can't run included, by name."""
        faulty = [
            ExchangeStatus(name=name, connected=False, connections=0, last_error=fault)
            for name, fault in self._faults.items()
            if name not in self._running
        ]
        return sorted([*faulty, *map(self._status, self._running.values())], key=lambda status: status.name)

    async def _wishes(self, rows: Sequence[Exchange], unreadable: Sequence[Unreadable]) -> dict[str, _Wish]:
        """The enabled exchanges whose rows can run; where they can't, what runs already."""
        wishes: dict[str, _Wish] = {}
        self._faults = {each.name: each.reason for each in unreadable if each.enabled}
        for exchange in rows:
            await asyncio.sleep(0)  # one exchange at a time: hundreds of rows must not hold the loop
            feed = exchange.feed
            if not feed.enabled:
                continue
            try:
                wishes[feed.name] = self._wish(exchange)
            except (ValueError, BeastError) as error:
                self._faults[feed.name] = str(error)
        for name, fault in self._faults.items():
            self._log.error("exchange can't run", exchange=name, error=fault)
            if name in self._running:
                wishes[name] = self._running[name].wish
        return wishes

    def _wish(self, exchange: Exchange) -> _Wish:
        """Raises ValueError or BeastError when the rows can't run."""
        feed = exchange.feed
        used = tuple(mapping for mapping in exchange.assets if mapping.enabled)
        if faults := validate(Exchange(feed, used)):
            raise RowsError(faults, where=feed.name)
        url = self._urls(feed.name, feed.ws_url) if self._urls else feed.ws_url
        return _Wish(feed=feed, mappings=used, url=url, plan=Plan(compile_plan(feed)))

    def _start(self, wish: _Wish) -> _Running:
        gate = Gate(wish.feed.connect_interval_ms, self._clock)
        links, ingests = [], []
        for number, mappings in enumerate(wish.parts):
            link = self._catalogue.link(wish.feed.name, number)
            instruments = {mapping.symbol: self._instrument(wish.feed, mapping) for mapping in mappings}
            ingest = Ingest(self._engine, wish.plan, link, backfill_ns=self._backfill_ns)
            ingest.set_symbols(
                [(fold(wish.feed, mapping.key).encode(), instruments[mapping.symbol]) for mapping in mappings]
            )
            ingests.append(ingest)
            links.append(
                Link(
                    wish.feed,
                    wish.url,
                    mappings,
                    number=link,
                    table=self._engine,
                    sink=ingest,
                    classify=Classifier(wish.feed),
                    forget=partial(self._forget, instruments),
                    gate=gate,
                    clock=self._clock,
                    rng=self._rng,
                    tls=self._tls,
                )
            )
        return _Running(wish, links, ingests, self._clock.monotonic_ns())

    def _forget(self, instruments: dict[str, int], symbols: Sequence[str]) -> None:
        for symbol in symbols:
            self._engine.forget(instruments[symbol])

    def _instrument(self, feed: Feed, mapping: Mapping) -> int:
        instrument = self._catalogue.find(feed.name, mapping.asset)
        assert instrument is not None, "the catalogue was loaded from the same rows"
        return instrument.id

    async def _stop(self, names: Sequence[str]) -> None:
        stopped = [self._running.pop(name) for name in names]
        await asyncio.gather(*(running.tasks.cancel() for running in stopped))

    def _is_ready(self, running: _Running) -> bool:
        if not running.has_price:
            running.has_price = any(
                self._engine.peek(instrument.id) for instrument in self._catalogue.of_exchange(running.wish.feed.name)
            )
        waited_ns = self._clock.monotonic_ns() - running.started_ns
        return running.has_price or not running.links or waited_ns > GIVE_UP_NS

    def _status(self, running: _Running) -> ExchangeStatus:
        links = [link.status() for link in running.links]
        connected = bool(links) and all(link.connected for link in links)
        now_ns = self._clock.monotonic_ns()
        opened_s = (self._clock.wall_ns() - now_ns + max((link.since_ns for link in links), default=0)) / 1e9
        heard_ns = max((link.heard_ns for link in links), default=0)
        name = running.wish.feed.name
        return ExchangeStatus(
            name=name,
            connected=connected,
            connections=len(links),
            since=datetime.fromtimestamp(opened_s, UTC) if connected else None,
            wanted=sum(link.wanted for link in links),
            acked=sum(link.acked for link in links),
            refused=tuple(symbol for link in links for symbol in link.refused),
            last_frame_age_ms=max(now_ns - heard_ns, 0) // 10**6 if heard_ns else None,
            reconnects=sum(link.reconnects for link in links),
            last_error=self._faults.get(name) or next((link.last_error for link in links if link.last_error), ""),
        )


def _goes_on(running: _Running, wish: _Wish | None) -> bool:
    return wish is not None and wish.wiring == running.wish.wiring
