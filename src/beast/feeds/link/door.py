"""How a connection is opened."""

import ssl
from typing import Protocol

from picows import WSListener, WSTransport, ws_connect

FRAME_MAX = 16 << 20
"""Longest message taken, in bytes: order books and product lists pass 1 MB."""
CONNECT_S = 10.0
"""How long the token, name resolution, TCP, TLS and the WebSocket handshake may take together, in seconds."""


class Opener(Protocol):
    """Opens connections, over the network or within a test."""

    async def __call__(self, listener: WSListener, url: str, *, tls: ssl.SSLContext, name: str) -> WSTransport:
        """Returns when the handshake is done and the listener was told; raises whatever kept it from that."""


async def open_websocket(listener: WSListener, url: str, *, tls: ssl.SSLContext, name: str) -> WSTransport:
    """See Opener. Pongs are left to the listener; `name` is the log's."""

    def listen(_request: object, _response: object) -> WSListener:
        return listener

    transport, accepted = await ws_connect(
        listen,
        url,
        ssl_context=tls,
        websocket_handshake_timeout=CONNECT_S / 2,
        enable_auto_pong=False,
        max_frame_size=FRAME_MAX,
        logger_name=f"feeds.{name}",
    )
    if accepted is None:
        raise ConnectionResetError("closed during the handshake")
    return transport
