"""A connection that comes back: one link of the price table, kept alive through any number of WebSockets."""

import asyncio
import contextlib
import ssl
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import NamedTuple, Protocol

import structlog
from picows import WSTransport

from beast._fast import Plan
from beast.base.clock import Clock
from beast.base.retry import Backoff
from beast.feeds.link.connection import CLOSE_S, Connection, End, FrameSink, LinkTable
from beast.feeds.link.door import CONNECT_S, Opener, open_websocket
from beast.feeds.link.endpoint import Address, EndpointError, Finder
from beast.feeds.link.gate import Gate
from beast.feeds.link.status import LinkStatus, Outage
from beast.feeds.link.subscription import WITHDRAWN, Event, Subscription, SymbolState
from beast.feeds.rows.classify import Answer
from beast.feeds.rows.templates import decorate
from beast.feeds.turns import in_turns
from beast.feeds.types import Feed, Mapping

HEALTHY_NS = 10 * 10**9
"""A connection that lasted this long proves the exchange well: the next failure starts with a short delay. Attempts
that far apart are within every exchange's limits."""
TROUBLE_NS = 5 * 10**9
"""What is wrong for less than this is nobody's business: connections come and go."""
_REPORTS_MAX = 1000
_WORDS_MAX = 200
_SYMBOLS_MAX = 50
"""Symbols named in one line of the log."""
_OUTAGES_MAX = 64


class Table(LinkTable, Protocol):
    """What a link needs of the engine."""

    def forget(self, instrument: int) -> None:
        """Its price is nobody's any more."""

    def doubt(self, instrument: int) -> None:
        """There may be a newer price, that could not be read."""


class Sink(FrameSink, Protocol):
    """Where the frames of one link go, whatever connection brings them."""

    def set_symbols(self, symbols: Sequence[tuple[bytes, int]]) -> None:
        """(wire symbol, instrument) of everything that may come."""

    def set_plan(self, plan: Plan) -> None:
        """Frames are read by another plan."""

    def set_backfill_ns(self, backfill_ns: int) -> None:
        """A trade further behind the clock than this is fresh since its own time only."""

    def take_gaps(self) -> list[tuple[int | None, int, int, int, int]]:
        """Gaps in the exchange's numbers; see Ingest.take_gaps()."""

    def symbols(self) -> list[tuple[bytes, int, int, int, int, int, int, int, int]]:
        """How each symbol fares; see Ingest.symbols()."""

    def tally(self) -> tuple[int, int, int, int, int]:
        """What came; see Ingest.tally()."""


class Wired(NamedTuple):
    """A row, and where its trades go."""

    row: Mapping
    key: bytes
    """The symbol as trade frames name it, folded; of no use where they carry a number."""
    instrument: int


class Link:
    """Keeps one connection of an exchange open until it is cancelled.

    Args:
        feed: The exchange's row.
        finder: Where to connect.
        number: The link's number in the price table.
        table: The engine.
        sink: Takes the frames, knows the symbols.
        classify: Reads frames without trades.
        gate: Shared by all links of the exchange.
        clock: The time.
        rng: For the jitter.
        tls: For wss.
        opener: Opens connections.
    """

    def __init__(
        self,
        feed: Feed,
        finder: Finder,
        *,
        number: int,
        table: Table,
        sink: Sink,
        classify: Callable[[bytes], Answer],
        gate: Gate,
        clock: Clock,
        rng: Random,
        tls: ssl.SSLContext,
        opener: Opener = open_websocket,
    ) -> None:
        self._feed = feed
        self._finder = finder
        self._wired: dict[str, Wired] = {}
        self._number = number
        self._table = table
        self._sink = sink
        self._classify = classify
        self._gate = gate
        self._clock = clock
        self._tls = tls
        self._opener = opener
        self._backoff = Backoff(rng)
        self._connection: Connection | None = None
        self._address = Address("", 0)
        self._doubtful: tuple[str, ...] = ()
        self._attempts = 0
        self._last_error = ""
        self._well_ns = clock.monotonic_ns()
        self._lost: tuple[int, str] | None = None
        self.outages: deque[Outage] = deque(maxlen=_OUTAGES_MAX)
        """Those that are over, for whoever takes them."""
        self._reported: Counter[Event] = Counter()
        self._log = structlog.get_logger("beast.feeds").bind(exchange=feed.name, link=number)

    async def run(self) -> None:
        """Connects, and connects again, until cancelled; then closes the connection in order."""
        while True:
            await asyncio.sleep(self._gate.take())
            if self._attempts:
                self._table.count("ws_reconnects")
            self._attempts += 1
            end, connection = await self._attempt()
            self._doubtful = connection.subscription.refused if connection else self._doubtful
            await asyncio.sleep(self._pause_s(end, connection))

    @property
    def number(self) -> int:
        """In the price table."""
        return self._number

    @property
    def patience_ns(self) -> int:
        """How long it may say nothing."""
        return self._feed.patience_ms * 10**6

    @property
    def connection(self) -> Connection | None:
        """The one that is open, on its way, or lost last."""
        return self._connection

    @property
    def wired(self) -> Iterable[Wired]:
        """What is asked for, and where its trades go."""
        return self._wired.values()

    @property
    def sink(self) -> Sink:
        """Where the frames go."""
        return self._sink

    @property
    def symbols(self) -> Collection[str]:
        """What is asked for."""
        return self._wired.keys()

    @property
    def left(self) -> Collection[str]:
        """What comes all the same."""
        return self._connection.subscription.left if self._connection else ()

    @property
    def instruments(self) -> Iterable[int]:
        """Where trades go."""
        return (wired.instrument for wired in self._wired.values())

    def release(self, leaving: Sequence[str], changed: Sequence[str]) -> None:
        """Nothing that comes for these symbols counts any more, and their prices are gone.

        Args:
            leaving: Are unsubscribed.
            changed: Stay, and are told anew by settle().
        """
        gone = [self._wired.pop(symbol) for symbol in (*leaving, *changed)]
        if not gone:
            return
        self._map()
        for wired in gone:
            self._table.forget(wired.instrument)
        if self._connection is not None:
            self._connection.subscription.remove(leaving)
            self._connection.wake()

    async def settle(
        self, feed: Feed, classify: Callable[[bytes], Answer], plan: Plan | None, wired: Sequence[Wired]
    ) -> None:
        """Takes over the row and asks for what isn't asked for yet; what goes on is not touched.

        Args:
            feed: The row; no column of CONNECTING differs.
            classify: Reads frames without trades by it.
            plan: Reads those with trades, where it is another one.
            wired: All that is wanted, which holds what release() left.
        """
        self._feed, self._classify = feed, classify
        if plan is not None:
            self._sink.set_plan(plan)
        self._wired = {each.row.symbol: each for each in wired}
        self._map()
        connection = self._connection
        if connection is None:
            return
        connection.take_over(feed, classify)
        async for part in in_turns(wired):
            connection.subscription.add(each.row for each in part if each.row.symbol in self._wired)
        connection.wake()

    def detach(self) -> None:
        """Nothing that it still brings counts: its number may be another's. run() is to be cancelled."""
        if self._connection is not None:
            self._connection.detach()

    def set_backfill_ns(self, backfill_ns: int) -> None:
        """See Sink."""
        self._sink.set_backfill_ns(backfill_ns)

    def status(self) -> LinkStatus:
        """How the connection fares now."""
        connection = self._connection
        is_open = connection is not None and connection.open
        counts = connection.subscription.counts if connection and is_open else Counter[SymbolState]()
        confirmed = SymbolState.ACKED if self._feed.ack_filter else SymbolState.SENT
        return LinkStatus(
            link=self._number,
            connected=is_open,
            since_ns=connection.opened_ns if connection and is_open else 0,
            heard_ns=self._table.link_state(self._number)[2],
            wanted=len(self._wired),
            acked=counts[confirmed],
            refused=connection.subscription.refused if connection and is_open else self._doubtful,
            reconnects=max(self._attempts - 1, 0),
            last_error=self._last_error,
            trouble=self._trouble(),
        )

    def _trouble(self) -> str:
        now_ns = self._clock.monotonic_ns()
        connection, heard_ns = self._connection, self._table.link_state(self._number)[2]
        is_open = connection is not None and connection.open
        # Pings go out after a third of the patience, and again after two: by then an answer should have come.
        lively = now_ns - heard_ns < self._feed.patience_ms * 10**6 * 2 // 3
        if connection and is_open and lively and heard_ns > connection.opened_ns:
            self._well_ns = now_ns
        if now_ns - self._well_ns < TROUBLE_NS:
            return ""
        if is_open:
            return f"open, but silent for {(now_ns - heard_ns) // 10**6} ms"
        return f"not connected: {self._last_error or 'the first attempt is under way'}"

    def _map(self) -> None:
        """Tells the sink whose trades come under which names now."""
        if not self._feed.channel_path:
            self._sink.set_symbols([(wired.key, wired.instrument) for wired in self._wired.values()])
            return
        channels = self._connection.subscription.channels if self._connection else {}
        self._sink.set_symbols(
            [
                (channel.encode(), self._wired[symbol].instrument)
                for channel, symbol in channels.items()
                if symbol in self._wired
            ]
        )

    def _pause_s(self, end: End, connection: Connection | None) -> float:
        """Logs the end; returns how long to wait before the next attempt, in seconds."""
        opened_ns = connection.opened_ns if connection else 0
        now_ns = self._clock.monotonic_ns()
        healthy = bool(opened_ns) and now_ns - opened_ns >= HEALTHY_NS
        if healthy:
            self._backoff.reset()
        # An exchange that asks everybody to reconnect the moment they come is given time, too.
        pause_s = 0 if end.planned and healthy else self._backoff.next_s()
        again_in_s = round(max(pause_s, self._gate.wait_s()), 1)
        reason = self._address.hide(end.reason)
        if end.planned:
            self._log.info("connection ended", reason=reason, again_in_s=again_in_s)
        else:
            self._last_error = reason
            self._log.warning("connection ended", reason=reason, again_in_s=again_in_s)
        return pause_s

    async def _attempt(self) -> tuple[End, Connection | None]:
        """One connection, from finding its address to its end."""
        connection = None
        try:
            async with asyncio.timeout(CONNECT_S):
                self._address = await self._finder.find(
                    self._feed, [decorate(symbol, self._feed.symbol_template) for symbol in self._wired]
                )
                connection = await self._new_connection()
                transport = await self._open(connection)
        except TimeoutError:
            return End(f"no connection within {CONNECT_S:g} s"), connection
        except EndpointError as error:
            return End(f"can't connect: {error}"), connection
        except Exception as error:  # noqa: BLE001  # whatever it is, the feed goes on trying
            return End(f"can't connect: {_words(error)}"), connection
        self._log.info("connected", symbols=len(self._wired))
        if self._lost is not None:
            self.outages.append(Outage(self._lost[0], connection.opened_ns, self._lost[1]))
        try:
            await self._hold(connection, transport)
        finally:
            self._well_ns = max(self._well_ns, self._table.link_state(self._number)[2])
        self._lost = self._table.link_state(self._number)[2], self._address.hide(connection.end.reason)
        return connection.end, connection

    async def _new_connection(self) -> Connection:
        """A connection that knows what to subscribe."""
        connection = self._connection = Connection(
            self._feed,
            self._number,
            table=self._table,
            sink=self._sink,
            subscription=Subscription(self._feed, (), self._doubtful),
            classify=self._classify,
            clock=self._clock,
            report=self._report,
            number=self._map,
            doubt=self._doubt,
            ping_interval_ms=self._address.ping_interval_ms if self._feed.ping_interval_path else None,
        )
        if self._feed.channel_path:
            self._map()
        async for part in in_turns(list(self._wired.values())):
            connection.subscription.add(each.row for each in part if each.row.symbol in self._wired)
        return connection

    async def _open(self, connection: Connection) -> WSTransport:
        try:
            return await self._opener(connection, self._address.url, tls=self._tls, name=self._feed.name)
        except BaseException:
            connection.close("given up before it was open")
            raise

    async def _hold(self, connection: Connection, transport: WSTransport) -> None:
        """Waits for the connection's end. When cancelled, closes it first."""
        try:
            await transport.wait_disconnected()
        except asyncio.CancelledError:
            connection.close("stopped", planned=True)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2 * CLOSE_S):
                    await transport.wait_disconnected()
            raise
        except Exception as error:  # noqa: BLE001  # picows hands over whatever made it disconnect
            connection.close(_words(error))

    def _doubt(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            if symbol in self._wired:
                self._table.doubt(self._wired[symbol].instrument)

    def _report(self, event: Event) -> None:
        """Logs an event once, counts it always."""
        if event.kind == WITHDRAWN:
            for symbol in event.symbols:
                if symbol in self._wired:
                    self._table.forget(self._wired[symbol].instrument)
        if len(self._reported) >= _REPORTS_MAX:
            self._reported.clear()
        self._reported[event] += 1
        told = ", ".join(event.symbols[:_SYMBOLS_MAX])
        text = self._address.hide(event.text)[:_WORDS_MAX]
        self._last_error = f"{event.kind}: {text or told}"
        if self._reported[event] == 1:
            self._log.warning(event.kind, symbols=told, count=len(event.symbols), text=text)


def _words(error: BaseException) -> str:
    """An exception's own words, short enough for a log line."""
    return (str(error) or type(error).__name__)[:_WORDS_MAX]
