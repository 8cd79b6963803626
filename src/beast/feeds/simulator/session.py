"""One client's connection to one exchange, free of sockets: text comes in by `receive`, frames leave by a link."""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from beast.feeds.simulator.faults import Faults
from beast.feeds.simulator.market import SECOND_NS, Instrument
from beast.feeds.simulator.types import PriceStyle, Product, Trade


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive:
    """What an exchange sends to keep a link alive, and when it gives a link up; in seconds, and 0 means never."""

    beat_s: float = 0
    """Between two heartbeats in the exchange's own words."""
    first_beat_s: float = 0
    unanswered_beats: int = 0
    """How many heartbeats may stay unanswered; at this one the link ends, `answer_s` after it."""
    answer_s: float = 5
    ping_s: float = 0
    """Between two protocol pings."""
    pong_s: float = 0
    """A protocol ping must be answered within this."""
    subscribe_s: float = 0
    """A connection without subscriptions may live and be quiet for so long."""
    client_s: float = 0
    """Silence of the client that is borne."""
    idle_s: float = 0
    """Silence of both sides that is borne."""
    close_code: int = 1000
    close_reason: str = ""

    def neglected(self, session: "Session", now_ns: int) -> bool:
        """Whether the client has left the link alone for too long."""
        waits = [
            (self.subscribe_s, max(session.opened_ns, session.heard_ns) if not session.channels() else now_ns),
            (self.client_s, session.heard_ns),
            (self.idle_s, max(session.heard_ns, session.sent_ns)),
            (self.pong_s, session.ping_due_ns or now_ns),
        ]
        if self.unanswered_beats and len(session.unanswered) >= self.unanswered_beats:
            waits.append((self.answer_s, max(session.unanswered.values())))
        return any(limit_s and now_ns - since_ns >= limit_s * SECOND_NS for limit_s, since_ns in waits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One exchange's words: data and a few short functions, put together in the table of `dialects`."""

    paths: tuple[str, ...]
    """Where it takes WebSocket connections; one that ends in `*` is a prefix."""
    style: PriceStyle
    request: type[Any]
    """What a client may send, as msgspec decodes it."""
    answer: Callable[["Session", Any], None]
    """Answers a request; None stands for a text that is none."""
    trades: Callable[["Session", Mapping[str, list[Trade]]], Iterable[Any]]
    """The frames that tell these trades, by symbol and oldest first."""
    greet: Callable[["Session"], None] | None = None
    """Said as soon as a connection is open."""
    beat: Callable[["Session"], None] | None = None
    keep_alive: KeepAlive = KeepAlive()
    text_replies: Mapping[bytes, bytes] = field(default_factory=dict)
    """Answers to texts that are no JSON."""
    pack: Callable[[bytes], bytes] | None = None
    """What becomes of a frame on its way into a binary one; None: text frames are sent."""


class Link(Protocol):
    """What a session needs of a WebSocket."""

    def send(self, frame: bytes) -> None:
        """Sends one frame: of text, or a binary one where the dialect packs."""

    def ping(self) -> None:
        """Sends a protocol ping."""

    def close(self, code: int, reason: str) -> None:
        """Ends the connection: with a close frame, or abruptly when `code` is 0."""


class Exchange(Protocol):
    """What a session needs of the exchange it belongs to."""

    dialect: Dialect
    faults: Faults
    instruments: Mapping[str, Instrument]
    halted: list[Product]
    tokens: set[str]
    """Given out and not used yet."""
    origin: str
    """Where its WebSocket side is, without a path."""

    def note(self, symbol: str, *, subscribed: bool) -> None:
        """A client has subscribed a symbol, or taken it off."""

    def now_ns(self) -> int:
        """Monotonic time."""

    def wall_ns(self) -> int:
        """Wall time, ns since 1970."""


class Session:
    """What an exchange remembers of one connection.

    Args:
        exchange: Whose it is.
        link: Where frames go.
        target: Path and query of the upgrade request, without the exchange's name.
    """

    def __init__(self, exchange: Exchange, link: Link, target: str) -> None:
        self.exchange = exchange
        self.target = target
        self.id = secrets.token_hex(8)
        self.symbols: dict[str, None] = {}
        """Whose trades are subscribed, by the names that trade frames give them, in order of subscription."""
        self.numbers: dict[str, int] = {}
        """What trade frames carry instead of the symbol, where an exchange gives out numbers."""
        self.heartbeats = False
        self.sequence = 0
        """The next number, where an exchange numbers its frames."""
        self.unanswered: dict[int, int] = {}
        """Heartbeats the client has not answered: id → when it was sent."""
        self.frames_sent = 0
        self._link = link
        self._late: deque[tuple[int, bytes]] = deque()
        self._astray: list[tuple[int, bytes]] = []
        now_ns = exchange.now_ns()
        keep_alive = exchange.dialect.keep_alive
        self.opened_ns = self.heard_ns = self.sent_ns = now_ns
        self.ping_due_ns = 0
        """When the protocol ping was sent that still has no pong; 0: none."""
        self._next_ping_ns = now_ns + int(keep_alive.ping_s * SECOND_NS)
        self._next_beat_ns = now_ns + int((keep_alive.first_beat_s or keep_alive.beat_s) * SECOND_NS)
        if exchange.dialect.greet:
            exchange.dialect.greet(self)

    def channels(self) -> bool:
        """Whether anything is subscribed."""
        return bool(self.symbols) or self.heartbeats

    def receive(self, text: bytes) -> None:
        """Answers one text frame of the client."""
        self.heard_ns = self.exchange.now_ns()
        if self.deaf():
            return
        dialect = self.exchange.dialect
        if text in dialect.text_replies:
            self._send(dialect.text_replies[text])
            return
        try:
            request = msgspec.json.decode(text, type=dialect.request)
        except (msgspec.DecodeError, UnicodeDecodeError):
            request = None
        dialect.answer(self, request)

    def receive_ping(self) -> None:
        """Notes a protocol ping; the link answers it unless the session is deaf."""
        self.heard_ns = self.exchange.now_ns()

    def receive_pong(self) -> None:
        """Notes the answer to a protocol ping."""
        self.heard_ns = self.exchange.now_ns()
        self.ping_due_ns = 0

    def tell(self, trades: Iterable[Trade]) -> None:
        """Sends what is subscribed of these trades, oldest first."""
        wanted: dict[str, list[Trade]] = {}
        for trade in trades:
            if trade.symbol in self.symbols:
                wanted.setdefault(trade.symbol, []).append(trade)
        if wanted:
            for frame in self.exchange.dialect.trades(self, wanted):
                self.send(frame)

    def send(self, message: Any) -> None:
        """Sends one message as JSON, as far as the faults in force let it through."""
        self._send(msgspec.json.encode(message))

    def tick(self) -> None:
        """Does what is due by now: late frames, heartbeats, pings, and ending a link that the client neglects."""
        now_ns = self.exchange.now_ns()
        if self.deaf():
            return
        while self._late and self._late[0][0] <= now_ns:
            self._put(self._late.popleft()[1])
        if self._astray:
            due = [each for each in self._astray if each[0] <= now_ns]
            self._astray = [each for each in self._astray if each[0] > now_ns]
            for _, frame in due:
                self._put(frame)
        dialect = self.exchange.dialect
        keep_alive = dialect.keep_alive
        if dialect.beat and now_ns >= self._next_beat_ns:
            self._next_beat_ns = now_ns + int(keep_alive.beat_s * SECOND_NS)
            dialect.beat(self)
        if keep_alive.ping_s and now_ns >= self._next_ping_ns:
            self._next_ping_ns = now_ns + int(keep_alive.ping_s * SECOND_NS)
            self.ping_due_ns = self.ping_due_ns or now_ns
            self._link.ping()
        if keep_alive.neglected(self, now_ns):
            self._link.close(keep_alive.close_code, keep_alive.close_reason)

    def close(self, code: int, reason: str) -> None:
        """Ends the connection; abruptly when `code` is 0."""
        self._link.close(code, reason)

    @property
    def has_late(self) -> bool:
        """Whether frames are on their way that a fault has made late."""
        return bool(self._late or self._astray)

    def deaf(self) -> bool:
        """Whether the link is half open: what the client sends has no effect."""
        return self.exchange.faults.get("half_open") is not None

    def _send(self, frame: bytes) -> None:
        faults = self.exchange.faults
        if self.deaf() or faults.get("silence"):
            self._late.clear()
            self._astray.clear()
            return
        self.frames_sent += 1
        frame = faults.on_frame(frame, self.frames_sent)
        now, *later = faults.late_ns(self.frames_sent)
        self._astray += [(self.exchange.now_ns() + late_ns, frame) for late_ns in ([now] if now else []) + later]
        if now:
            return
        slow = faults.get("slow")
        if slow or self._late:
            delay_ns = int(slow.number("ms") * 1_000_000) if slow else 0
            self._late.append((self.exchange.now_ns() + delay_ns, frame))
        else:
            self._put(frame)

    def _put(self, frame: bytes) -> None:
        self.sent_ns = self.exchange.now_ns()
        pack = self.exchange.dialect.pack
        self._link.send(pack(frame) if pack else frame)
