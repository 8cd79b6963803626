"""A WebSocket within one loop: picows' transport on our side, the simulator's link on the exchange's."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

from picows import WSListener, WSMsgType

from beast.feeds.simulator.exchange import SimulatedExchange


class Frame:
    """What picows shows of a frame."""

    __slots__ = ("fin", "msg_type", "payload")

    def __init__(self, msg_type: WSMsgType, payload: bytes) -> None:
        self.msg_type, self.payload, self.fin = msg_type, payload, True

    @property
    def payload_size(self) -> int:
        return len(self.payload)

    def get_payload_as_bytes(self) -> bytes:
        return self.payload

    def get_close_code(self) -> SimpleNamespace:
        return SimpleNamespace(value=int.from_bytes(self.payload[:2], "big"))

    def get_close_reason(self) -> str:
        return self.payload[2:].decode()


class Wire:
    """One connection.

    Args:
        number: Of all wires.
        exchange: The other end.
        target: Path and query.
        listener: Our end.
        heard: Told of every frame that reaches our end.
    """

    def __init__(
        self,
        number: int,
        exchange: SimulatedExchange,
        target: str,
        listener: WSListener,
        heard: Callable[["Wire", bytes | None], None],
    ) -> None:
        self.number = number
        self.exchange = exchange
        self.up = True
        self.heard_ns = 0
        self._listener = listener
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._gone = self._loop.create_future()
        listener.on_ws_connected(self)  # type: ignore[arg-type]
        self._session = exchange.connect(self, target)

    # What the exchange does

    def send(self, *args: object) -> None:
        """Of the session: a frame. Of the listener: a kind and a text."""
        if len(args) == 1:
            self._hear(WSMsgType.TEXT, bytes(args[0]))  # type: ignore[call-overload]
        elif self.up:
            text = str(args[1]).encode()
            self._loop.call_soon(self._received, text)

    def ping(self) -> None:
        self._hear(WSMsgType.PING, b"")

    def close(self, code: int, reason: str) -> None:
        if code:
            self._hear(WSMsgType.CLOSE, code.to_bytes(2, "big") + reason.encode())
        self.cut()

    # What we do

    def send_ping(self) -> None:
        self._loop.call_soon(self._pinged)

    def send_pong(self, _payload: bytes) -> None:
        self._loop.call_soon(self._ponged)

    def send_close(self, _code: object) -> None:
        self._loop.call_soon(self._closed_by_us)

    def disconnect(self, *, graceful: bool = True) -> None:
        del graceful
        self.cut()

    async def wait_disconnected(self) -> None:
        await asyncio.shield(self._gone)

    # The wire

    def cut(self) -> None:
        if not self.up:
            return
        self.up = False
        self.exchange.disconnected(self._session)
        self._loop.call_soon(self._end)

    def _end(self) -> None:
        self._listener.on_ws_disconnected(self)  # type: ignore[arg-type]
        self._gone.set_result(None)

    def _received(self, text: bytes) -> None:
        if self.up:
            self._session.receive(text)

    def _ponged(self) -> None:
        if self.up:
            self._session.receive_pong()

    def _pinged(self) -> None:
        if self.up:
            self._session.receive_ping()
            if not self._session.deaf():
                self._hear(WSMsgType.PONG, b"")

    def _closed_by_us(self) -> None:
        if self.up and not self._session.deaf():
            self._hear(WSMsgType.CLOSE, (1000).to_bytes(2, "big"))
            self.cut()

    def _hear(self, kind: WSMsgType, payload: bytes) -> None:
        if self.up:
            self._heard(self, payload if kind is WSMsgType.TEXT else None)
            self._listener.on_ws_frame(self, Frame(kind, payload))  # type: ignore[arg-type]
