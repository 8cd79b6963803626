"""A connection that comes back: one link of the price table, kept alive through any number of WebSockets."""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import msgspec
import structlog
from picows import WSListener, WSTransport, ws_connect

from beast.base.clock import Clock
from beast.base.retry import Backoff
from beast.feeds.classify import Answer
from beast.feeds.connection import CLOSE_S, FRAME_MAX, Connection, End, FrameSink, LinkTable
from beast.feeds.subscription import WITHDRAWN, Event, Subscription, SymbolState
from beast.feeds.templates import decorate, render_url
from beast.feeds.types import Feed, Mapping

CONNECT_S = 10.0
"""How long name resolution, TCP, TLS and the WebSocket handshake may take together, in seconds."""
HEALTHY_NS = 10 * 10**9
"""A connection that lasted this long proves the exchange well: the next failure starts with a short delay. Attempts
that far apart are within every exchange's limits."""
_REPORTS_MAX = 1000
_WORDS_MAX = 200


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one connection fares."""

    link: int
    connected: bool
    since_ns: int
    """CLOCK_MONOTONIC ns of its opening; 0 when it isn't connected."""
    heard_ns: int
    """CLOCK_MONOTONIC ns of the last sign of life; 0: never."""
    wanted: int
    acked: int
    """Acknowledged; where an exchange sends no acks: sent."""
    refused: tuple[str, ...]
    reconnects: int
    last_error: str


class Gate:
    """Spaces the connection attempts of one exchange.

    Args:
        interval_ms: The least time between two attempts.
        clock: The time.
    """

    def __init__(self, interval_ms: int, clock: Clock) -> None:
        self._interval_ns = interval_ms * 10**6
        self._clock = clock
        self._next_ns = 0

    def take(self) -> float:
        """Reserves the next attempt; returns how long to wait for it, in seconds."""
        now_ns = self._clock.monotonic_ns()
        at_ns = max(now_ns, self._next_ns)
        self._next_ns = at_ns + self._interval_ns
        return (at_ns - now_ns) / 1e9


class Link:
    """Keeps one connection of an exchange open until it is cancelled.

    Args:
        feed: The exchange's row.
        url: Where to connect; may hold `{SYMBOLS:SEP}`.
        mappings: What to subscribe.
        number: The link's number in the price table.
        table: The engine.
        sink: Takes the frames, knows the symbols.
        classify: Reads frames without trades.
        forget: Called with the symbols that the exchange prices no more.
        gate: Shared by all links of the exchange.
        clock: The time.
        rng: For the jitter.
        tls: For wss.
    """

    def __init__(
        self,
        feed: Feed,
        url: str,
        mappings: Sequence[Mapping],
        *,
        number: int,
        table: LinkTable,
        sink: FrameSink,
        classify: Callable[[bytes], Answer],
        forget: Callable[[Sequence[str]], None],
        gate: Gate,
        clock: Clock,
        rng: Random,
        tls: ssl.SSLContext,
    ) -> None:
        self._feed = feed
        self._url = render_url(url, [decorate(mapping.symbol, feed.symbol_template) for mapping in mappings])
        self._mappings = mappings
        self._number = number
        self._table = table
        self._sink = sink
        self._classify = classify
        self._forget = forget
        self._gate = gate
        self._clock = clock
        self._tls = tls
        self._backoff = Backoff(rng)
        self._connection: Connection | None = None
        self._doubtful: tuple[str, ...] = ()
        self._attempts = 0
        self._last_error = ""
        self._reported: Counter[Event] = Counter()
        self._log = structlog.get_logger("beast.feeds").bind(exchange=feed.name, link=number)

    async def run(self) -> None:
        """Connects, and connects again, until cancelled; then closes the connection in order."""
        while True:
            await asyncio.sleep(self._gate.take())
            if self._attempts:
                self._table.count("ws_reconnects")
            self._attempts += 1
            connection = self._new_connection()
            end = await self._hold(connection)
            self._doubtful = connection.subscription.refused
            await asyncio.sleep(self._pause_s(end, connection))

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
            wanted=len(self._mappings),
            acked=counts[confirmed],
            refused=connection.subscription.refused if connection and is_open else self._doubtful,
            reconnects=max(self._attempts - 1, 0),
            last_error=self._last_error,
        )

    def _pause_s(self, end: End, connection: Connection) -> float:
        """Logs the end; returns how long to wait before the next attempt, in seconds."""
        healthy = connection.opened_ns and self._clock.monotonic_ns() - connection.opened_ns >= HEALTHY_NS
        if healthy:
            self._backoff.reset()
        # An exchange that asks everybody to reconnect the moment they come is given time, too.
        pause_s = 0 if end.planned and healthy else self._backoff.next_s()
        if end.planned:
            self._log.info("connection ended", reason=end.reason, again_in_s=round(pause_s, 3))
        else:
            self._last_error = end.reason
            self._log.warning("connection ended", reason=end.reason, again_in_s=round(pause_s, 3))
        return pause_s

    def _new_connection(self) -> Connection:
        self._connection = Connection(
            self._feed,
            self._number,
            table=self._table,
            sink=self._sink,
            subscription=Subscription(self._feed, self._mappings, self._doubtful),
            classify=self._classify,
            clock=self._clock,
            report=self._report,
        )
        return self._connection

    async def _hold(self, connection: Connection) -> End:
        """Opens the connection and waits for its end. When cancelled, closes it first."""
        try:
            transport = await self._open(connection)
        except TimeoutError:
            return End(f"no connection within {CONNECT_S:g} s")
        except Exception as error:  # noqa: BLE001  # whatever it is, the feed goes on trying
            return End(f"can't connect: {_words(error)}")
        self._log.info("connected", symbols=len(self._mappings))
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
        return connection.end

    async def _open(self, connection: Connection) -> WSTransport:
        def listen(_request: object, _response: object) -> WSListener:
            return connection

        try:
            async with asyncio.timeout(CONNECT_S):
                transport, listener = await ws_connect(
                    listen,
                    self._url,
                    ssl_context=self._tls,
                    websocket_handshake_timeout=CONNECT_S / 2,
                    enable_auto_pong=False,
                    max_frame_size=FRAME_MAX,
                    logger_name=f"feeds.{self._feed.name}",
                )
        except BaseException:
            connection.close("given up before it was open")
            raise
        if listener is None:
            raise ConnectionResetError("closed during the handshake")
        return transport

    def _report(self, event: Event) -> None:
        """Logs an event once, counts it always."""
        if event.kind == WITHDRAWN:
            self._forget(event.symbols)
        if len(self._reported) >= _REPORTS_MAX:
            self._reported.clear()
        self._reported[event] += 1
        self._last_error = f"{event.kind}: {event.text or ', '.join(event.symbols)}"
        if self._reported[event] == 1:
            self._log.warning(event.kind, symbols=list(event.symbols), text=event.text[:_WORDS_MAX])


def _words(error: BaseException) -> str:
    """An exception's own words, short enough for a log line."""
    return (str(error) or type(error).__name__)[:_WORDS_MAX]
