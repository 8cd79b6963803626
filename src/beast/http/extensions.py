"""What a route may ask of the connection that its request came by, as extensions of ASGI."""

import asyncio
from collections.abc import Callable, Iterable


class Successor(asyncio.Protocol):
    """What a connection may become when it stops speaking HTTP."""

    __slots__ = ()

    transport: asyncio.Transport
    leave: Callable[[], None]
    """To be called when the connection is lost."""

    def shutdown(self) -> None:
        """The server stops."""
        raise NotImplementedError


HAND_ON = "beast.hand_on"
"""The ASGI extension by which a route gives its connection away: `call` takes a Successor and the response's head."""

OWE = "beast.owe"
"""The ASGI extension by which a route bills its answer: paid when the kernel has it, dropped if the client is gone."""

HandOn = Callable[[Successor, int, Iterable[tuple[bytes, bytes]]], bool]
