"""One HTTP/1.1 connection of the ASGI side: uvicorn's protocol with limits on what a client may cost.

uvicorn trusts its clients with time and memory. Here every wait has a clock, every buffer a bound, and a
request that cannot be read gets its answer after those before it, then the connection closes (RFC 9112, 9.6).
"""

import asyncio
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import Any

import httptools
import msgspec
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from beast._fast import Bill
from beast.http.delivery import Delivery, Unsent
from beast.http.errors import (
    BAD_HOST,
    BAD_REQUEST,
    BAD_VERSION,
    BODY_TOO_LARGE,
    HEAD_TOO_LARGE,
    OVERLOADED,
    TIMEOUT,
    Fault,
)
from beast.http.extensions import HAND_ON, OWE, Successor
from beast.http.gate import Gate
from beast.http.responses import head_bytes, refusal_bytes


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection may cost. Sizes in bytes, times in seconds."""

    head_bytes: int = 64 << 10
    body_bytes: int = 1 << 20
    head_s: float = 10.0
    """From a request's first byte to the end of its head; also from the connection to that first byte."""
    body_s: float = 30.0
    """From the head's end to the body's."""
    idle_s: float = 75.0
    """Keep-alive: silence between two requests."""
    send_s: float = 10.0
    """A client that does not read its answers."""
    linger_s: float = 2.0
    """How long a refused client may go on sending, so that a reset does not destroy the refusal."""
    connections: int = 4096
    """Of all clients together."""
    connections_per_source: int = 256
    """Of one IPv4 address or IPv6 /64; 0: no limit."""


class Owed(Enum):
    """What the client has to send next."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, guarded; `first` is what was read from the socket before it came here."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        limits: Limits,
        gate: Gate,
        count: Callable[[str], None],
        first: bytes = b"",
    ) -> None:
        super().__init__(config, server_state, app_state, asyncio.get_running_loop())
        self._limits = limits
        self._gate = gate
        self._source: str | None = None
        self._count = count
        self._first = first
        self._owed = Owed.NOTHING
        self._messages = 0
        self._bytes = 0
        self._body_bytes = 0
        self._unanswered = 0
        self._deaf = self._upgrading = False
        self._ahead = b""
        self._ended = False
        self._refusal: Fault | None = None
        self._closing = False
        self._delivery: Delivery | None = None
        self._unsent = Unsent()
        self._watched = (0, Owed.NOTHING)
        self._read_clock: asyncio.TimerHandle | None = None
        self._send_clock: asyncio.TimerHandle | None = None

    # Life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first request; the bytes that came along are read once the transport is."""
        super().connection_made(transport)
        self._source = self._gate.enter(transport.get_extra_info("peername"))
        if self._source is None:
            self._count("http_overloaded" if self._gate.full else "http_source_limited")
            self._deaf = self._closing = True
            transport.write(refusal_bytes(OVERLOADED, self.server_state.default_headers))
            transport.close()
            return
        self.timeout_keep_alive_task = self.loop.call_later(self._limits.head_s, self.timeout_keep_alive_handler)
        if self._first:
            self.loop.call_soon(self.data_received, b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops every clock."""
        self._closing = True
        if self._delivery is not None:
            self._delivery.drop()
        self._unsent.lost()
        if self._source is not None:
            self._gate.leave(self._source)
        self._stop_reading_clock()
        self._stop_sending_clock()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that is done sending still gets the answers to whole requests."""
        if self._first:
            self.data_received(b"")
        self._ended = True
        if self._owed is not Owed.NOTHING:
            self._refuse(BAD_REQUEST)
        if self._closing or not self._unanswered:
            return False
        self._finish()
        return True

    def shutdown(self) -> None:
        """The server stops: what is being answered is finished, the rest closed."""
        if self._first:
            self.data_received(b"")
        if self._unanswered:
            self._finish()
        elif not self._closing:
            self.transport.close()

    def _finish(self) -> None:
        """What is due is still answered; the last answer, or the refusal that follows it, closes."""
        if self._refusal is None:
            self.cycle.keep_alive = False

    # Reading

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; whatever it cannot read is refused."""
        if self._first:
            data, self._first = self._first + data, b""
        self._bytes += len(data)
        if self._deaf:
            self._ahead += data if self._upgrading else b""
            if self._bytes > self._limits.body_bytes:
                self.transport.abort()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The last request of this protocol, whether its route switches or answers as if it had not been asked to.
            self.cycle.keep_alive = False
            self._deaf = self._upgrading = True
            self._ahead = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(reason.fault if isinstance(reason, _RefusedError) else BAD_REQUEST)
        else:
            if self._owed is Owed.HEAD and self._bytes > self._limits.head_bytes:
                self._refuse(HEAD_TOO_LARGE)
            self._watch()

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._messages += 1
        self._owed = Owed.HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, without the white space that may follow its value (RFC 9112, 5.1): the parser leaves it there."""
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """Judges the head before anything is started for it."""
        size, hosts, length = len(self.url), 0, 0
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            hosts += name == b"host"
            if name == b"content-length":
                length = int(value)
        if size > self._limits.head_bytes:
            raise _RefusedError(HEAD_TOO_LARGE)
        if length > self._limits.body_bytes:
            raise _RefusedError(BODY_TOO_LARGE)
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            raise _RefusedError(BAD_VERSION)
        if hosts != 1 and version == "1.1":
            raise _RefusedError(BAD_HOST)
        self._bytes = self._body_bytes = 0
        super().on_headers_complete()
        self.scope["extensions"] = {
            HAND_ON: {"call": partial(self._hand_on, self.cycle)},
            OWE: {"call": partial(self._owe, self.cycle)},
        }
        self._owed = Owed.BODY
        self._unanswered += 1

    def on_body(self, body: bytes) -> None:
        """A part of the body; a chunked one shows its size only as it comes."""
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            raise _RefusedError(BODY_TOO_LARGE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A whole request was read."""
        self._bytes = 0
        self._owed = Owed.NOTHING
        super().on_message_complete()

    # Clocks

    def _watch(self) -> None:
        """One clock for what the client owes: a head or a body, of this very message."""
        owed = (self._messages, self._owed)
        if owed == self._watched or self._deaf:
            return
        self._stop_reading_clock()
        self._watched = owed
        if self._owed is not Owed.NOTHING:
            seconds = self._limits.head_s if self._owed is Owed.HEAD else self._limits.body_s
            self._read_clock = self.loop.call_later(seconds, self._refuse, TIMEOUT)

    def _stop_reading_clock(self) -> None:
        if self._read_clock is not None:
            self._read_clock.cancel()
            self._read_clock = None

    def _stop_sending_clock(self) -> None:
        if self._send_clock is not None:
            self._send_clock.cancel()
            self._send_clock = None

    def timeout_keep_alive_handler(self) -> None:
        """An idle connection; one that is in the middle of a request has its own clock."""
        if self._owed is Owed.NOTHING:
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """The client reads too slowly: from now on it is timed."""
        super().pause_writing()
        self._send_clock = self.loop.call_later(self._limits.send_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._stop_sending_clock()
        self._unsent.sent()

    # Answering and refusing

    def on_response_complete(self) -> None:
        """Starts the next pipelined request, or tells the refusal that waited for its turn."""
        if self._delivery is not None:
            self._delivery.finish()
            self._delivery = None
        self._unanswered -= 1
        super().on_response_complete()
        if self._refusal is not None and not self._unanswered and not self._closing:
            self._tell_refusal(self._refusal)

    def _owe(self, cycle: RequestResponseCycle, bill: Bill) -> None:
        if cycle.disconnected or self.transport.is_closing():
            bill.drop()
        elif bill.due:
            self._delivery = cycle.transport = Delivery(cycle, bill, self._unsent)  # type: ignore[assignment]

    def _hand_on(
        self, cycle: RequestResponseCycle, successor: Successor, status: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> bool:
        """Writes the head, then gives the connection away, with its place at the gate and what came behind the request.

        What the application sends afterwards goes nowhere. False, and nothing is done, when the client is gone or
        asked for the head only.
        """
        if cycle.scope["method"] == "HEAD" or self._closing or self._source is None or self.transport.is_closing():
            return False
        cycle.disconnected = self._deaf = self._closing = True
        self._stop_reading_clock()
        self._stop_sending_clock()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        self.connections.discard(self)
        self.connections.add(successor)  # type: ignore[arg-type]
        successor.leave = partial(_left, successor, self.connections, self._gate.promote(self._source))
        self.transport.write(head_bytes(status, [*self.server_state.default_headers, *headers]))
        self.transport.set_protocol(successor)
        successor.connection_made(self.transport)
        self.flow.resume_reading()
        if self._ahead:
            self.loop.call_soon(successor.data_received, self._ahead)
        self.parser = None  # type: ignore[assignment]
        return True

    def _refuse(self, fault: Fault) -> None:
        """Reads no further. The answers already due come first, then the refusal, then the end."""
        if self._closing or self._deaf:
            return
        self._deaf = True
        self._count("http_timed_out" if fault is TIMEOUT else "http_refused")
        self._refusal = fault
        self._bytes = 0
        self._stop_reading_clock()
        if self._owed is Owed.BODY and not self._give_up_body():
            self._closing = True
            self.transport.close()
        elif not self._unanswered:
            self._tell_refusal(fault)

    def _give_up_body(self) -> bool:
        """Takes back the request whose body will never be whole; False when its answer has begun."""
        cycle = self.cycle
        if cycle.response_started:
            return False
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
        self._unanswered -= 1
        return True

    def _tell_refusal(self, fault: Fault) -> None:
        self._closing = True
        self._unset_keepalive_if_required()
        self.transport.write(refusal_bytes(fault, self.server_state.default_headers))
        if self._ended:
            self.transport.close()
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self._read_clock = self.loop.call_later(self._limits.linger_s, self.transport.abort)


class _RefusedError(Exception):
    """Carries a fault out of a parser callback: httptools passes it on as the context of its own error."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def _left(successor: Successor, connections: set[Any], leave_gate: Callable[[], None]) -> None:
    connections.discard(successor)
    leave_gate()
