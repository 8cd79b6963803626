"""Which exchanges run: the rows as they are wanted, against the connections as they are."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from random import Random, SystemRandom

import structlog

from beast._fast import Engine, Ingest
from beast.base.clock import Clock, SystemClock
from beast.base.errors import BeastError
from beast.base.tasks import Tasks
from beast.feeds.link.door import Opener, open_websocket
from beast.feeds.link.endpoint import Endpoint
from beast.feeds.link.gate import Gate
from beast.feeds.link.link import Link, Sink
from beast.feeds.link.tally import CountedTable, Tally, tally_of
from beast.feeds.recording.tap import TappedEngine
from beast.feeds.rows.classify import Classifier
from beast.feeds.rows.files import Exchange, Unreadable
from beast.feeds.running import ExchangeStatus, RunningExchange
from beast.feeds.turns import take_steps
from beast.feeds.types import Feed, Mapping
from beast.feeds.wanted import Urls, Wish, markets, wish_for
from beast.prices.catalogue import Catalogue, Markets

__all__ = ["BACKFILL_NS", "ExchangeStatus", "FeedManager", "Urls"]

BACKFILL_NS = 5 * 10**9
"""Unless set_backfill() says otherwise, in ns."""
GIVE_UP_NS = 20 * 10**9
"""How long `ready` waits for an exchange's first price, in ns."""
WATCH_S = 1.0
"""Between two looks at how the exchanges fare, in seconds."""


class FeedManager:
    """Runs every enabled exchange of the rows it was last given.

    Args:
        engine: Where prices go.
        catalogue: Gives markets their places in the engine.
        urls: Says where to connect instead, for a simulator.
        clock: The time.
        rng: For the jitter between attempts.
        tls: For wss and https; the machine's trust store unless given.
        tap: Records what the feeds tell the engine; it is the catalogue's table then, too.
        opener: Opens connections.
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
        tap: TappedEngine | None = None,
        opener: Opener = open_websocket,
    ) -> None:
        self._engine = engine
        self._tap = tap
        self._opener = opener
        self._catalogue = catalogue
        self._urls = urls
        self._backfill_ns = BACKFILL_NS
        self._clock = clock or SystemClock()
        self._rng = rng or SystemRandom()
        self._tls = tls or ssl.create_default_context()  # once: it reads the whole trust store
        self._running: dict[str, RunningExchange] = {}
        self._tables: dict[int, CountedTable] = {}
        self._faults: dict[str, str] = {}
        self._listed_as: tuple[Markets, dict[str, str]] = {}, {}
        self._tasks = Tasks()
        self._lock = asyncio.Lock()
        self._stopped = False
        self._log = structlog.get_logger("beast.feeds")

    async def apply(self, rows: Sequence[Exchange], unreadable: Sequence[Unreadable] = ()) -> None:
        """Makes what runs agree with `rows`: subscribes, unsubscribes and connects only what differs.

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
            running = {name: self._kept(wish) or self._new(wish) for name, wish in wishes.items()}
            placed = {name: running[name].place(wish) for name, wish in wishes.items()}
            if all(running[name].is_settled(wish) for name, wish in wishes.items()) and running == self._running:
                return
            listed = (market for name, wish in wishes.items() for market in markets(wish, placed[name]))
            wanted = await take_steps(self._catalogue.checking(listed))
            if self._tap:
                self._tap.set_rows([wish.rows for wish in wishes.values()])
            # Let go first: what a connection brings must not be told as another market's price.
            for name, old in self._running.items():
                if running.get(name) is old:
                    await old.release(wishes[name], placed[name])
                else:
                    old.stop()
            self._running = running
            listed_as = wanted, {name: wish.feed.display_name for name, wish in wishes.items()}
            if listed_as != self._listed_as:
                await take_steps(self._catalogue.loading(*listed_as))
                self._listed_as = listed_as
            for name, wish in wishes.items():
                await running[name].settle(wish, placed[name])

    def set_backfill(self, backfill_ms: int) -> None:
        """A trade that is further behind the clock than this counts from its own time, from now on."""
        self._backfill_ns = backfill_ms * 10**6
        for running in self._running.values():
            running.set_backfill_ns(self._backfill_ns)

    async def stop(self) -> None:
        """Closes every connection, for good. The prices stay as they are."""
        async with self._lock:
            self._stopped = True
            for running in self._running.values():
                running.stop()
            self._running = {}
            await self._tasks.cancel()

    def ready(self) -> bool:
        """Whether every exchange that runs has a price, or has been waited for long enough."""
        return all(running.is_ready(GIVE_UP_NS) for running in self._running.values())

    def address(self, exchange: str, original: str) -> str:
        """What stands for an address in an exchange's row: itself, or the simulator's."""
        return self._urls(exchange, original) if self._urls else original

    def row(self, exchange: str, asset: str) -> tuple[Feed, Mapping] | None:
        """The rows by which a market runs."""
        running = self._running.get(exchange)
        row = running.wish.row(asset) if running else None
        return (running.wish.feed, row) if running and row else None

    @property
    def running(self) -> Sequence[RunningExchange]:
        """The exchanges that run."""
        return tuple(self._running.values())

    @property
    def tls(self) -> ssl.SSLContext:
        """For wss and https."""
        return self._tls

    def tally(self, exchange: str) -> Tally:
        """What came over the links that an exchange has now."""
        total, running = Tally(), self._running.get(exchange)
        for link in running.links.values() if running else ():
            total = total.plus(tally_of(link, self._tables[link.number].counted))
        return total

    def symbols(self, exchange: str) -> set[str]:
        """What the connections of an exchange ask for."""
        running = self._running.get(exchange)
        return running.symbols() if running else set()

    def status(self) -> list[ExchangeStatus]:
        """How every exchange fares, those that can't run included, by name."""
        faulty = [
            ExchangeStatus(name=name, connected=False, connections=0, last_error=fault, degraded=fault)
            for name, fault in self._faults.items()
            if name not in self._running
        ]
        running = [each.status(self._faults.get(name, ""), self._backfill_ns) for name, each in self._running.items()]
        return sorted([*faulty, *running], key=lambda status: status.name)

    async def watch(self, degrade: Callable[[str, str | None], None]) -> None:
        """Tells of every exchange what is wrong with it, or None when it is well again; until cancelled."""
        told: set[str] = set()
        while True:
            wrong = {f"exchange {status.name}": status.degraded for status in self.status() if status.degraded}
            for part in told - wrong.keys():
                degrade(part, None)
            for part, reason in wrong.items():
                degrade(part, reason)
            told = set(wrong)
            await asyncio.sleep(WATCH_S)

    async def _wishes(self, rows: Sequence[Exchange], unreadable: Sequence[Unreadable]) -> dict[str, Wish]:
        """The enabled exchanges whose rows can run; where they can't, what runs already."""
        wishes: dict[str, Wish] = {}
        self._faults = {each.name: each.reason for each in unreadable if each.enabled}
        for exchange in rows:
            await asyncio.sleep(0)  # one exchange at a time: hundreds of rows must not hold the loop
            name = exchange.feed.name
            running = self._running.get(name)
            if not exchange.feed.enabled:
                continue
            if running is not None and running.wish.rows == exchange:
                wishes[name] = running.wish
                continue
            try:
                wishes[name] = await wish_for(exchange, self._urls)
            except (ValueError, BeastError) as error:
                self._faults[name] = str(error)
        for name, fault in self._faults.items():
            self._log.error("exchange can't run", exchange=name, error=fault)
            if name in self._running:
                wishes[name] = self._running[name].wish
        return wishes

    def _kept(self, wish: Wish) -> RunningExchange | None:
        running = self._running.get(wish.feed.name)
        return running if running is not None and running.wish.keeps_connections(wish) else None

    def _new(self, wish: Wish) -> RunningExchange:
        return RunningExchange(
            wish,
            self._make_link,
            engine=self._engine,
            catalogue=self._catalogue,
            tasks=self._tasks,
            clock=self._clock,
        )

    def _make_link(self, wish: Wish, number: int, gate: Gate) -> Link:
        link = self._catalogue.link(wish.feed.name, number)
        ingest = Ingest(self._engine, wish.plan, link, backfill_ns=self._backfill_ns)
        table = self._tables[link] = CountedTable(self._tap or self._engine)
        sink: Sink = self._tap.reader(wish.feed.name, link, ingest, self._backfill_ns) if self._tap else ingest
        return Link(
            wish.feed,
            Endpoint(wish.ws_url, wish.token_url, clock=self._clock, tls=self._tls),
            number=link,
            table=table,
            sink=sink,
            classify=Classifier(wish.feed),
            gate=gate,
            clock=self._clock,
            rng=self._rng,
            tls=self._tls,
            opener=self._opener,
        )
