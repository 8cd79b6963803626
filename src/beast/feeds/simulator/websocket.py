"""The WebSocket side on picows: one connection, and who gets it by the path of the upgrade request."""

from collections.abc import Callable, Mapping

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)

from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.session import Session

MOST_UNSENT_BYTES = 16 * 1024 * 1024
"""A client that reads so slowly that more piles up is cut off."""

Answer = WSListener | WSUpgradeResponseWithListener | None


class Connection(WSListener):
    """The link of one session."""

    _session: Session | None = None
    _transport: WSTransport | None = None

    def __init__(self, exchange: SimulatedExchange, target: str) -> None:
        self._exchange = exchange
        self._target = target
        self._parts: list[bytes] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Starts the session."""
        self._transport = transport
        self._session = self._exchange.connect(self, self._target)

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        """Hands text to the session and does what the protocol wants; a half-open link does neither."""
        session = self._session
        if session is None:
            return
        match frame.msg_type:
            case WSMsgType.TEXT | WSMsgType.CONTINUATION:
                self._parts.append(frame.get_payload_as_bytes())
                if frame.fin:
                    text, self._parts = b"".join(self._parts), []
                    session.receive(text)
            case WSMsgType.PING:
                session.receive_ping()
                if not session.deaf() and self._transport:
                    self._transport.send_pong(frame.get_payload_as_bytes())
            case WSMsgType.PONG:
                session.receive_pong()
            case WSMsgType.CLOSE if not session.deaf():
                self.close(WSCloseCode.OK.value, "")

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """Ends the session."""
        if self._session:
            self._exchange.disconnected(self._session)

    def send(self, frame: bytes) -> None:
        """Sends one frame."""
        if self._transport is None:
            return
        if self._transport.underlying_transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            self._transport.disconnect(graceful=False)
            return
        self._transport.send(WSMsgType.BINARY if self._exchange.dialect.pack else WSMsgType.TEXT, frame)

    def ping(self) -> None:
        """Sends a protocol ping."""
        if self._transport:
            self._transport.send_ping()

    def close(self, code: int, reason: str) -> None:
        """Ends the connection: with a close frame, or abruptly when `code` is 0."""
        if self._transport is None:
            return
        if code:
            self._transport.send_close(code, reason.encode())  # type: ignore[arg-type]  # codes over 3000 are no members
        self._transport.disconnect(graceful=bool(code))
        if self._session:
            self._exchange.disconnected(self._session)


def router(exchanges: Mapping[str, SimulatedExchange]) -> Callable[[WSUpgradeRequest], Answer]:
    """Finds the exchange by the first segment of the path; 404 for no exchange's path, 503 for one that refuses."""

    def route(request: WSUpgradeRequest) -> Answer:
        name, _, rest = request.path.decode("latin-1").removeprefix("/").partition("/")
        target = f"/{rest}"
        exchange = exchanges.get(name.partition("?")[0])
        if exchange is None or not exchange.takes(target.partition("?")[0]):
            return None
        if exchange.faults.get("refuse"):
            refusal = WSUpgradeResponse.create_error_response(503, b"refused by the simulator\n")
            return WSUpgradeResponseWithListener(refusal, None)
        if exchange.faults.get("too_many"):
            refusal = WSUpgradeResponse.create_error_response(429, b"too many requests\n")
            return WSUpgradeResponseWithListener(refusal, None)
        return Connection(exchange, target)

    return route
