"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html.

The response has no length and ends with its connection, so the same bytes suit every client, HTTP/1.0 included.
"""

import asyncio
from collections.abc import Sequence

from beast.http.errors import Fault
from beast.http.stream.admission import Admission
from beast.http.stream.channel import Selection
from beast.http.stream.hub import Hub
from beast.http.stream.session import Session

HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
    (b"x-accel-buffering", b"no"),
]
RETRY = b"retry: 1000\n\n"
"""A client that loses the connection comes back after so many ms."""
HEARD_MAX = 64 << 10
"""Bytes that a client may send behind its request. They mean nothing."""


class SseSession(Session):
    """A client of GET /stream.

    Args:
        hub: Who tells it.
        digest: SHA-256 of its key.
        last_id: Its Last-Event-ID header, if it has one.
    """

    beat = b":\n\n"

    __slots__ = ("_heard", "_last_id")

    def __init__(self, hub: Hub, digest: bytes, last_id: str | None) -> None:
        super().__init__(hub, digest)
        self._last_id = last_id
        self._heard = 0

    @staticmethod
    def form(data: bytes, event_id: bytes) -> bytes:
        """See Session."""
        return b"event: price\nid: %b\ndata: %b\n\n" % (event_id, data)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins."""
        super().connection_made(transport)
        self.transport.write(RETRY)

    def data_received(self, data: bytes) -> None:
        """Nothing is expected; a client that goes on and on is not listening."""
        self._heard += len(data)
        if self._heard > HEARD_MAX:
            self.transport.abort()

    def eof_received(self) -> bool:
        """The client is gone: one that only stopped sending can't be told from it before the next event."""
        return False

    def resumed(self, selection: Selection) -> Sequence[int | None] | None:
        """See Session."""
        return None if self._last_id is None else selection.read_id(self._last_id)

    def open(self, admission: Admission) -> None:
        """Follows what was admitted; of the other assets says once that no price is kept."""
        for entry in admission.unknown:
            self.transport.write(b"event: price\ndata: %b\n\n" % entry)
        self.hub.follow(self, admission.places)

    def close(self, fault: Fault) -> None:
        """See Session."""
        if not self.closing:
            self.closing = True
            self.transport.write(b"event: bye\ndata: %b\n\n" % fault.body)
            self.transport.close()
