"""One WebSocket to one exchange, from its handshake to its end.

A trade frame goes from picows straight into the price table, in one call. Everything else is rare and is read
in Python: acks, errors, heartbeats, notices. What has to happen at a certain time (pings, subscription messages, the
verdict on a silent link) is done by one timer, set to whatever is due next.

A link is alive as long as anything comes over it, a pong included. When nothing has come for a third of its
patience a protocol ping asks; when nothing has come for all of it, the connection is cut: a peer that vanished
without closing never says so by itself.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from beast.base.clock import Clock
from beast.feeds.link.door import FRAME_MAX
from beast.feeds.link.reader import READ_MAX, Reader
from beast.feeds.link.subscription import Event, Subscription
from beast.feeds.rows.classify import Answer
from beast.feeds.rows.templates import render_message
from beast.feeds.rows.unpack import unpack
from beast.feeds.types import Feed

SEND_TURN = 64
"""Messages sent in one turn."""
CLOSE_S = 1.0
"""How long the peer may take to answer a Close, in seconds."""
_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
_CONTROL_MAX = 125
"""Bytes that a ping, pong or close may bring (RFC 6455, 5.5); a longer frame brings data."""
_TRADE = 1
_MALFORMED = 2
_JSON = (b"{", b"[")
_MS = 10**6


class LinkTable(Protocol):
    """What a connection needs of the engine. Times are CLOCK_MONOTONIC ns."""

    def link_up(self, link: int, patience_ns: int, now_ns: int) -> int:
        """A connection is open; returns its epoch."""

    def link_proven(self, link: int, now_ns: int) -> None:
        """Something came over it."""

    def link_down(self, link: int) -> None:
        """It is gone."""

    def link_doubt(self, link: int) -> int:
        """What it brought so far may not be the last word; returns its new epoch."""

    def link_state(self, link: int) -> tuple[bool, int, int]:
        """(up, epoch, proven_ns)."""

    def count(self, name: str, n: int = 1) -> None:
        """Adds to a counter."""


class FrameSink(Protocol):
    """Where frames go."""

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the connection that brings the frames."""

    def feed(self, frame: bytes | memoryview, received_ns: int, wall_ns: int, /) -> int:
        """Publishes what the frame brings; returns its kind: 1 for trades, 2 for what is not JSON."""


class _Nowhere:
    """Where the frames of a connection go that nobody wants any more."""

    def link_up(self, _link: int, _patience_ns: int, _now_ns: int) -> int:
        return 0

    def link_proven(self, _link: int, _now_ns: int) -> None:
        pass

    def link_down(self, _link: int) -> None:
        pass

    def link_doubt(self, _link: int) -> int:
        return 0

    def link_state(self, _link: int) -> tuple[bool, int, int]:
        return False, 0, 0

    def count(self, name: str, n: int = 1) -> None:
        pass

    def set_epoch(self, epoch: int) -> None:
        pass

    def feed(self, _frame: bytes | memoryview, _received_ns: int, _wall_ns: int, /) -> int:
        return _TRADE


class End(NamedTuple):
    """Why a connection ended."""

    reason: str
    planned: bool = False
    """Announced by the exchange or wanted by us: no failure, reconnect at once."""


class Connection(WSListener):
    """The listener of one WebSocket.

    Args:
        feed: The exchange's row.
        link: The connection's number in the price table.
        table: The engine.
        sink: Takes the frames.
        subscription: What to ask for, not started.
        classify: Reads a frame without trades.
        clock: The time.
        report: Called with each event the operator should read.
        number: Called when the exchange has given a symbol another number.
        doubt: Called with symbols of which something came that nobody can read.
        ping_interval_ms: Between two pings in the exchange's own words; the row's unless given.
    """

    def __init__(
        self,
        feed: Feed,
        link: int,
        *,
        table: LinkTable,
        sink: FrameSink,
        subscription: Subscription,
        classify: Callable[[bytes], Answer],
        clock: Clock,
        report: Callable[[Event], None],
        number: Callable[[], None] = lambda: None,
        doubt: Callable[[Sequence[str]], None] = lambda _: None,
        ping_interval_ms: int | None = None,
    ) -> None:
        self.subscription = subscription
        self.opened_ns = 0
        self._feed = feed
        self._packed = feed.compression != "none"
        self._link = link
        self._table = table
        self._sink = sink
        self._reader = Reader(classify, self._act, at_once=bool(feed.channel_path))
        self._clock = clock
        # Looked up once for all frames.
        self._take, self._monotonic_ns, self._wall_ns = sink.feed, clock.monotonic_ns, clock.wall_ns
        self._report = report
        self._number = number
        self._doubt = doubt
        self._ping_interval_ms = ping_interval_ms
        self._transport: WSTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fragments = bytearray()
        self._fragments_binary = False
        self._end: End | None = None
        self._pinged_ns = 0
        self._own_ping_ns = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begins the link's new epoch, before any frame: early snapshots belong to this connection."""
        if self._end is not None:  # Whoever was waiting for this handshake has given up.
            transport.disconnect(graceful=False)
            return
        now_ns = self._clock.monotonic_ns()
        self._transport = transport
        self.opened_ns = self._pinged_ns = now_ns
        self._own_ping_ns = now_ns + self._own_interval_ns()
        self._sink.set_epoch(self._table.link_up(self._link, self._feed.patience_ms * _MS, now_ns))
        self.subscription.start(now_ns)
        self._tick()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Hot for whole data frames; the frame's memory dies with this call."""
        # To ask for the type costs nearly as much as to read a trade.
        if (frame.payload_size > _CONTROL_MAX or frame.msg_type in _DATA) and frame.fin and not self._fragments:
            payload = frame.get_payload_as_bytes()  # a copy costs less than a view
            if self._packed and frame.msg_type == WSMsgType.BINARY:
                payload = unpack(payload, self._feed.compression)
            kind = self._take(payload, self._monotonic_ns(), self._wall_ns())
            if kind != _TRADE:
                self._reader.read(payload, kind)
            return
        self._table.link_proven(self._link, self._clock.monotonic_ns())
        if frame.msg_type == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self._closed_by_peer(transport, frame.get_close_code().value, frame.get_close_reason() or "no reason given")
        elif frame.msg_type != WSMsgType.PONG:
            self._assemble(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Whatever ended it, the link is down from here on."""
        self._set_timer(None)
        if self._transport is transport:
            self._table.link_down(self._link)
            self._transport = None

    @property
    def open(self) -> bool:
        """Whether frames may come."""
        return self._transport is not None

    @property
    def end(self) -> End:
        """Why it ended; the first reason counts."""
        return self._end or End("the connection was lost")

    def close(self, reason: str, *, planned: bool = False) -> None:
        """Sends a Close and gives the peer a moment to answer it."""
        if self._end is not None:
            return
        self._end = End(reason, planned)
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)
            self._set_timer(CLOSE_S, self._cut)

    def take_over(self, feed: Feed, classify: Callable[[bytes], Answer]) -> None:
        """The row has changed in columns that no connection is made by."""
        self._feed = feed
        self._packed = feed.compression != "none"
        self._reader.classify = classify
        self._own_ping_ns = min(self._own_ping_ns, self._clock.monotonic_ns() + self._own_interval_ns())
        self.subscription.take_over(feed)
        self.wake()

    def wake(self) -> None:
        """The subscription has changed: what is due now may be another thing."""
        self._tick()

    def detach(self) -> None:
        """Nothing that it still brings counts, and its link may be another's from here on."""
        if self._transport is not None:
            self._table.link_down(self._link)
        self._set_timer(None)
        nowhere = _Nowhere()
        self._table = self._sink = nowhere
        self._take = nowhere.feed

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def _closed_by_peer(self, transport: WSTransport, code: int, reason: str) -> None:
        if self._end is None:
            self._end = End(f"closed by the exchange: {reason} (code {code})")
            transport.send_close(WSCloseCode.OK)
        transport.disconnect()
        self._set_timer(CLOSE_S, self._cut)

    def _assemble(self, frame: WSFrame) -> None:
        """Joins the fragments of a message (RFC 6455, 5.4)."""
        if self._fragments and frame.msg_type != WSMsgType.CONTINUATION:
            self.close("a message began before the one before it had ended")
            return
        if len(self._fragments) + frame.payload_size > FRAME_MAX:
            self.close(f"a fragmented message is longer than {FRAME_MAX} bytes")
            return
        if frame.msg_type != WSMsgType.CONTINUATION:
            self._fragments_binary = frame.msg_type == WSMsgType.BINARY
        self._fragments += frame.get_payload_as_memoryview()
        if frame.fin:
            message = bytes(self._fragments)
            if self._fragments_binary:
                message = unpack(message, self._feed.compression)
            self._fragments.clear()
            kind = self._take(message, self._monotonic_ns(), self._wall_ns())
            if kind != _TRADE:
                self._reader.read(message, kind)

    def _act(self, frame: bytes, kind: int, answer: Answer | None) -> None:
        """Does what follows from a frame that brought no trade."""
        if answer is None:
            self._pass_over(frame, kind)
            return
        match answer.kind:
            case "ack":
                self.subscription.acknowledge(answer.symbols, answer.reply_id, answer.channel)
                if answer.channel:
                    self._number()
                self._tick()
            case "error":
                self._table.count("frames_errors")
                for event in self.subscription.refuse(answer.symbols, answer.reply_id, answer.text):
                    self._report(event)
                self._tick()
            case "heartbeat" if self._feed.heartbeat_reply_template:
                self._reply(frame)
            case "notice":
                self.close(f"the exchange asked to reconnect: {answer.text}".rstrip(": "), planned=True)
            case "ignored":
                self._pass_over(frame, kind)

    def _pass_over(self, frame: bytes, kind: int) -> None:
        """Counts a frame that nobody can read. It may have held a newer trade than those that we hold."""
        self._table.count("frames_malformed" if kind == _MALFORMED else "frames_ignored")
        if len(frame) > READ_MAX or (kind == _MALFORMED and frame.lstrip().startswith(_JSON)):
            self._sink.set_epoch(self._table.link_doubt(self._link))
        elif symbols := self.subscription.mentioned(frame.decode(errors="replace")):
            self._doubt(symbols)

    def _reply(self, frame: bytes) -> None:
        try:
            self._send(self._feed.heartbeat_reply_template, frame)
        except LookupError as error:
            self._report(Event("heartbeat not answered", (), str(error)))

    def _send(self, template: str, frame: bytes | None = None) -> None:
        if self._end is not None or self._transport is None:
            return
        text = render_message(
            template, message_id=self.subscription.take_id(), wall_ns=self._clock.wall_ns(), frame=frame
        )
        self._transport.send(WSMsgType.TEXT, text)

    def _tick(self) -> None:
        """Does what is due and sets the timer to what is due next."""
        if self._end is not None or self._transport is None:
            return
        now_ns = self._clock.monotonic_ns()
        due_ns = min(self._watch(now_ns), self._ping(now_ns), self._subscribe(now_ns))
        if self._end is None:
            self._set_timer((due_ns - now_ns) / 1e9, self._tick)

    def _watch(self, now_ns: int) -> int:
        """Ends a connection that is silent or too old; returns when to look again."""
        dead_ns = self._table.link_state(self._link)[2] + self._feed.patience_ms * _MS
        if now_ns >= dead_ns:
            self._end = End(f"silent for {self._feed.patience_ms} ms")
            self._cut()
        if not self._feed.max_connection_age_s:
            return dead_ns
        old_ns = self.opened_ns + self._feed.max_connection_age_s * 10**9
        if now_ns >= old_ns:
            self.close("as old as this exchange lets a connection be", planned=True)
        return min(dead_ns, old_ns)

    def _ping(self, now_ns: int) -> int:
        """Asks a silent peer for a sign of life, and sends the exchange's own ping; returns when to do so next."""
        if self._end is not None or self._transport is None:
            return now_ns
        quiet_ns = self._feed.patience_ms * _MS // 3
        if now_ns >= max(self._table.link_state(self._link)[2], self._pinged_ns) + quiet_ns:
            self._pinged_ns = now_ns
            self._transport.send_ping()
        due_ns = max(self._table.link_state(self._link)[2], self._pinged_ns) + quiet_ns
        if not self._own_interval_ns():
            return due_ns
        if now_ns >= self._own_ping_ns:
            self._own_ping_ns = now_ns + self._own_interval_ns()
            self._send(self._feed.ping_template)
        return min(due_ns, self._own_ping_ns)

    def _own_interval_ns(self) -> int:
        given_ms = self._ping_interval_ms
        return (self._feed.ping_interval_ms if given_ms is None else given_ms) * _MS

    def _subscribe(self, now_ns: int) -> int:
        """Sends the subscription messages that are due; returns when the next one is."""
        if self._end is not None or self._transport is None:
            return now_ns
        for event in self.subscription.expire(now_ns):
            self._report(event)
        for _ in range(SEND_TURN):
            text = self.subscription.next_message(now_ns, self._clock.wall_ns())
            if text is None:
                break
            self._transport.send(WSMsgType.TEXT, text)
        if self.subscription.hopeless():
            self.close("every symbol was refused")
        due_ns = self.subscription.due_ns()
        return due_ns if due_ns is not None else now_ns + self._feed.patience_ms * _MS

    def _set_timer(self, delay_s: float | None, action: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay_s is not None and action is not None:
            self._timer = asyncio.get_running_loop().call_later(max(delay_s, 0), action)
