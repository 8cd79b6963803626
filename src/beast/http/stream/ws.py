"""WebSocket clients of the price stream: RFC 6455."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from beast.http.errors import BAD_MESSAGE, STOPPING, Fault
from beast.http.stream.admission import Admission
from beast.http.stream.channel import Selection, read_event_id
from beast.http.stream.frames import CloseCode, FrameError, FrameReader, Opcode, close_frame, frame
from beast.http.stream.hub import Hub
from beast.http.stream.session import LINGER_S, Session

MESSAGES_PER_S = 50
"""Of one client; what asks for more is not asking for prices."""


class Ask(msgspec.Struct):
    """What a client says: which prices it wants from now on, and what it has seen of them."""

    assets: list[str] | None = None
    exchange: str | None = None
    resume: dict[str, str] | None = None
    """Event ids by asset."""


class WsSession(Session):
    """A client of GET /ws.

    Args:
        hub: Who tells it.
        digest: SHA-256 of its key.
        admit: Asks the engine for (assets, exchange) with the client's key.
        now_ns: CLOCK_MONOTONIC.
    """

    beat = frame(Opcode.PING, b"")

    __slots__ = ("_admit", "_heard", "_heard_ns", "_now_ns", "_reader", "_resume")

    def __init__(
        self,
        hub: Hub,
        digest: bytes,
        admit: Callable[[list[str], str | None], Admission],
        now_ns: Callable[[], int],
    ) -> None:
        super().__init__(hub, digest)
        self._admit = admit
        self._now_ns = now_ns
        self._reader = FrameReader()
        self._resume: dict[str, str] = {}
        self._heard = 0
        self._heard_ns = now_ns()

    @staticmethod
    def form(data: bytes, event_id: bytes) -> bytes:  # noqa: ARG004 - the data names it
        """See Session."""
        return frame(Opcode.TEXT, data)

    # Hearing

    def data_received(self, data: bytes) -> None:
        """Reads the client's frames."""
        try:
            for opcode, payload in self._reader.feed(data):
                if self.closing:
                    break
                self._hear(opcode, payload)
        except FrameError as error:
            self._leave(error.code, str(error))

    def _hear(self, opcode: Opcode, payload: bytes) -> None:
        now_ns = self._now_ns()
        if now_ns - self._heard_ns > 1_000_000_000:  # noqa: PLR2004 - a second
            self._heard, self._heard_ns = 0, now_ns
        self._heard += 1
        if self._heard > MESSAGES_PER_S:
            raise FrameError(CloseCode.POLICY, f"at most {MESSAGES_PER_S} messages a second")
        match opcode:
            case Opcode.TEXT:
                self._ask(payload)
            case Opcode.BINARY:
                raise FrameError(CloseCode.UNSUPPORTED, "a message is text")
            case Opcode.PING if not self.paused:
                self.transport.write(frame(Opcode.PONG, payload))
            case Opcode.CLOSE:
                self._leave(CloseCode.NORMAL)

    def _ask(self, payload: bytes) -> None:
        if self.paused:
            raise FrameError(CloseCode.POLICY, "read what was sent before asking for more")
        try:
            ask = msgspec.json.decode(payload, type=Ask)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._say(BAD_MESSAGE.body)
            return
        resume = {asset.upper(): seen for asset, seen in (ask.resume or {}).items()}
        admission = self._admit(list(resume) if ask.assets is None else ask.assets, ask.exchange)
        if not admission.places:
            self._say(admission.body)
            return
        self._resume = resume
        self.open(admission)

    def eof_received(self) -> bool:
        """The client is gone."""
        return False

    # Telling

    def open(self, admission: Admission) -> None:
        """Follows what was admitted, instead of what was followed before."""
        for entry in admission.unknown:
            self._say(entry)
        self.hub.follow(self, admission.places)

    def resumed(self, selection: Selection) -> Sequence[int | None] | None:
        """See Session."""
        return [
            read_event_id(self._resume[channel.asset], channel.token, 1)[0]
            if channel.asset in self._resume
            else channel.seq
            for channel in selection.channels
        ]

    def _say(self, text: bytes) -> None:
        if not self.paused:
            self.transport.write(frame(Opcode.TEXT, text))

    def close(self, fault: Fault) -> None:
        """See Session."""
        if not self.closing:
            self._say(fault.body)
            self._leave(CloseCode.GOING_AWAY if fault is STOPPING else CloseCode.POLICY, fault.message)

    def _leave(self, code: CloseCode, reason: str = "") -> None:
        """Says so, and waits a moment for the client to close: it goes first, so that nothing on the way is lost."""
        if self.closing:
            return
        self.closing = True
        self.transport.write(close_frame(code, reason))
        asyncio.get_running_loop().call_later(LINGER_S, self.transport.abort)
        if code is CloseCode.NORMAL:
            self.transport.close()
