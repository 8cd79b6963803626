"""One exchange at work: its links, and how they become what the rows want."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from beast._fast import Engine
from beast.base.clock import Clock
from beast.base.tasks import Tasks
from beast.feeds.link.gate import Gate
from beast.feeds.link.link import Link, Wired
from beast.feeds.rows.classify import Classifier
from beast.feeds.turns import in_turns
from beast.feeds.wanted import Wish, place
from beast.prices.catalogue import Catalogue

SETTLED_NS = 10 * 10**9
"""What comes later than this on a connection is no snapshot of old trades any more."""
LAG_SAMPLES = 64
"""Prices looked at for how late the exchange's trades are."""
LAG_LEAST = 3
"""Fewer trades say nothing about a clock."""


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
    degraded: str = ""
    """What is wrong for some seconds now; empty: nothing."""


class RunningExchange:
    """The links of one exchange.

    Args:
        wish: As it is to run.
        make_link: Makes the link of one of its connections, by its number; the catalogue knows it then.
        engine: Where prices are.
        catalogue: Says where each market's are.
        tasks: Run the links.
        clock: The time.
    """

    def __init__(
        self,
        wish: Wish,
        make_link: Callable[[Wish, int, Gate], Link],
        *,
        engine: Engine,
        catalogue: Catalogue,
        tasks: Tasks,
        clock: Clock,
    ) -> None:
        self.wish = wish
        self.placed: dict[str, int] = {}
        self.started_ns = clock.monotonic_ns()
        self._settled: Wish | None = None
        self._links: dict[int, Link] = {}
        self._cancel: dict[int, Callable[[], object]] = {}
        self._make_link = make_link
        self._engine = engine
        self._catalogue = catalogue
        self._tasks = tasks
        self._clock = clock
        self._gate = Gate(wish.feed.connect_interval_ms, clock)
        self._has_price = False

    def is_settled(self, wish: Wish) -> bool:
        """Whether it runs so already."""
        return self._settled is wish

    def place(self, wish: Wish) -> dict[str, int]:
        """Which connection would ask for which symbol; changes nothing."""
        if self.is_settled(wish):
            return self.placed
        held = {symbol: number for number, link in self._links.items() for symbol in (*link.symbols, *link.left)}
        left = {symbol for link in self._links.values() for symbol in link.left}
        return place(
            (row.symbol for row in wish.subscribed),
            held,
            left=left,
            size=wish.feed.symbols_per_connection,
            closed=self._links.keys() if wish.feed.subscribes_by_url else (),
        )

    async def release(self, wish: Wish, placed: dict[str, int]) -> None:
        """Lets go of what is not wanted as it is: from here on the markets may change."""
        if self.is_settled(wish):
            return
        rows = {row.symbol: row for row in wish.subscribed}
        old = {row.symbol: row for row in self._settled.subscribed} if self._settled else {}
        for number, link in list(self._links.items()):
            leaving, changed = [], []
            async for part in in_turns(list(link.symbols)):
                for symbol in part:
                    row = rows.get(symbol)
                    if row is None or placed[symbol] != number:
                        leaving.append(symbol)
                    elif (row.asset, row.key) != (old[symbol].asset, old[symbol].key):
                        changed.append(symbol)
            link.release(leaving, changed)
            if number not in placed.values():
                self._close(number)

    async def settle(self, wish: Wish, placed: dict[str, int]) -> None:
        """Asks for all that is wanted; the catalogue knows the markets."""
        if self.is_settled(wish):
            return
        plan = wish.plan if self._settled is None or self._settled.source != wish.source else None
        self.wish, self._settled, self.placed = wish, wish, placed
        self._gate.interval_ms = wish.feed.connect_interval_ms
        wired: dict[int, list[Wired]] = {number: [] for number in sorted(set(placed.values()))}
        async for part in in_turns(wish.subscribed):
            for row in part:
                wired[placed[row.symbol]].append(Wired(row, wish.key(row), self._instrument(row.asset)))
        for number, rows in wired.items():
            link = self._links.get(number)
            if link is None:
                link = self._links[number] = self._make_link(wish, number, self._gate)
                await link.settle(wish.feed, Classifier(wish.feed), None, rows)
                self._cancel[number] = self._tasks.spawn(f"feed {wish.feed.name} {number}", link.run()).cancel
            else:
                await link.settle(wish.feed, Classifier(wish.feed), plan, rows)

    @property
    def links(self) -> Mapping[int, Link]:
        """Its connections by number."""
        return self._links

    def symbols(self) -> set[str]:
        """What its connections ask for."""
        return {symbol for link in self._links.values() for symbol in link.symbols}

    def stop(self) -> None:
        """Nothing that still comes counts; the connections are closed in the background."""
        for number in list(self._links):
            self._close(number)

    def set_backfill_ns(self, backfill_ns: int) -> None:
        """A trade that is further behind the clock than this counts from its own time, from now on."""
        for link in self._links.values():
            link.set_backfill_ns(backfill_ns)

    def is_ready(self, patience_ns: int) -> bool:
        """Whether it has a price, or has been waited for long enough."""
        if not self._has_price:
            self._has_price = any(self._engine.peek(instrument) for instrument in self._instruments())
        waited_ns = self._clock.monotonic_ns() - self.started_ns
        return self._has_price or not self._links or waited_ns > patience_ns

    def status(self, fault: str, backfill_ns: int) -> ExchangeStatus:
        """How it fares; `fault` is why its rows, as they are now, can't run."""
        links = [link.status() for link in self._links.values()]
        connected = bool(links) and all(link.connected for link in links)
        now_ns = self._clock.monotonic_ns()
        opened_ns = max((link.since_ns for link in links), default=0)
        opened_s = (self._clock.wall_ns() - now_ns + opened_ns) / 1e9
        heard_ns = max((link.heard_ns for link in links), default=0)
        late = self._late(opened_ns, backfill_ns) if connected else ""
        troubles = [link.trouble for link in links if link.trouble]
        trouble = f"{len(troubles)} of {len(links)} connections: {troubles[0]}" if troubles else ""
        return ExchangeStatus(
            name=self.wish.feed.name,
            connected=connected,
            connections=len(links),
            since=datetime.fromtimestamp(opened_s, UTC) if connected else None,
            wanted=sum(link.wanted for link in links),
            acked=sum(link.acked for link in links),
            refused=tuple(symbol for link in links for symbol in link.refused),
            last_frame_age_ms=max(now_ns - heard_ns, 0) // 10**6 if heard_ns else None,
            reconnects=sum(link.reconnects for link in links),
            last_error=fault or late or next((link.last_error for link in links if link.last_error), ""),
            degraded=fault or trouble or late,
        )

    def _late(self, opened_ns: int, backfill_ns: int) -> str:
        """Whether even its newest trades are so old that a clock must be wrong: its own, or more likely ours."""
        offset_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        lags = []
        for instrument, _ in zip(self._instruments(), range(LAG_SAMPLES), strict=False):
            held = self._engine.peek(instrument)
            if held and int(str(held["received_ns"])) > opened_ns + SETTLED_NS:
                lags.append(int(str(held["received_ns"])) + offset_ns - int(str(held["time_ns"])))
        if len(lags) < LAG_LEAST or min(lags) <= backfill_ns:
            return ""
        return f"this exchange's times are {min(lags) // 10**6} ms behind ours"

    def _close(self, number: int) -> None:
        self._links.pop(number).detach()
        self._cancel.pop(number)()

    def _instruments(self) -> Iterable[int]:
        return (instrument for link in self._links.values() for instrument in link.instruments)

    def _instrument(self, asset: str) -> int:
        instrument = self._catalogue.find(self.wish.feed.name, asset)
        assert instrument is not None, "the catalogue was loaded from the same rows"
        return instrument.id
