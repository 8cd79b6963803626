"""One client of the price stream, whatever it speaks: its connection, and how far it has been told."""

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from beast.http.errors import Fault
from beast.http.extensions import Successor
from beast.http.stream.channel import Selection

if TYPE_CHECKING:
    from beast.http.stream.hub import Hub

KERNEL_BUFFER = 16 << 10
"""Bytes that the kernel may hold for a client (it doubles the figure). What lies there can't be overtaken any more."""
LINGER_S = 2.0
"""How long a client may take to leave after it was told to."""


def nothing() -> None:
    """A connection that nobody counts."""


class Session(Successor):
    """The protocol of a connection that has become a stream.

    Args:
        hub: Who tells it.
        digest: SHA-256 of the key that opened it; the key itself is not kept.
    """

    beat: ClassVar[bytes]
    """What is sent now and then so that middlemen see life."""

    __slots__ = ("closing", "digest", "farewell", "hub", "leave", "paused", "seen", "selection", "transport")

    def __init__(self, hub: "Hub", digest: bytes) -> None:
        self.hub = hub
        self.digest = digest
        self.leave = nothing
        self.selection: Selection | None = None
        self.seen: tuple[int, ...] = ()
        self.paused = False
        """The client reads too slowly: nothing is written, so that what is written next is the newest."""
        self.farewell: Fault | None = None
        self.closing = False

    @property
    def peer(self) -> str | None:
        """The address at the other end; None: there is no such thing (in tests)."""
        name = self.transport.get_extra_info("peername")
        return name[0] if isinstance(name, tuple) else None

    # Of each kind of client

    @staticmethod
    def form(data: bytes, event_id: bytes) -> bytes:
        """The bytes of one event; see beast.http.stream.channel.Form."""
        raise NotImplementedError

    def resumed(self, selection: Selection) -> Sequence[int | None] | None:
        """What the client says that it has seen already; None: it comes anew."""
        raise NotImplementedError

    def close(self, fault: Fault) -> None:
        """Says why, then closes the connection."""
        raise NotImplementedError

    # Of all

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins; the response's head has been written."""
        self.transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
        transport.set_write_buffer_limits(0)
        self.hub.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a client may leave as it likes
        """The client is gone."""
        self.closing = True
        self.hub.drop(self)
        self.leave()

    def pause_writing(self) -> None:
        """The kernel took less than everything."""
        self.paused = True
        self.hub.paused(self)

    def resume_writing(self) -> None:
        """There is room again."""
        self.paused = False
        self.hub.resumed(self)

    def shutdown(self) -> None:
        """The server stops."""
        self.hub.dismiss(self)
