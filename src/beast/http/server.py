"""Runs an ASGI application on sockets: those the workers hand over, or a listener of its own.

uvicorn.Server is not used: it wants to own the process, its signals and its listeners. What it would do for
its protocol is done here: load the configuration, run the lifespan, keep the Date header fresh.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import structlog
from uvicorn import Config
from uvicorn.server import ServerState

from beast.http.gate import Gate
from beast.http.protocol import GuardedProtocol, Limits

log = structlog.get_logger(__name__)


class HttpServer:
    """One ASGI application and its connections. All methods are for the event loop's thread."""

    def __init__(
        self,
        app: Any,
        *,
        limits: Limits | None = None,
        count: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.limits = limits or Limits()
        self.gate = Gate(self.limits.connections, self.limits.connections_per_source)
        self._count = count
        self._config = Config(
            app,
            interface="asgi3",
            http=GuardedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=self.limits.idle_s,  # type: ignore[arg-type]
        )
        self._config.load()
        self._lifespan = self._config.lifespan_class(self._config)
        self._state = ServerState()
        self._listener: asyncio.Server | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._date: asyncio.Task[None] | None = None

    async def start(self, listen: tuple[str, int] | None = None) -> None:
        """Runs the application's lifespan, then listens on `listen` (host, port) if it is given.

        Raises:
            OSError: the address cannot be had.
            RuntimeError: the application refused to start.
        """
        await self._lifespan.startup()
        if self._lifespan.should_exit:
            raise RuntimeError("the ASGI application did not start; its log says why")
        self._set_date()
        self._date = asyncio.create_task(self._keep_date(), name="http-date")
        if listen is not None:
            host, port = listen
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(self._protocol, host, port, backlog=1024)

    @property
    def port(self) -> int:
        """The listener's port."""
        assert self._listener is not None, "this server only adopts connections"
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._state.connections)

    def adopt(self, fd: int, first: bytes) -> None:
        """Takes over an accepted, non-blocking TCP socket and the bytes that were read from it."""
        task = asyncio.create_task(self._adopt(socket.socket(fileno=fd), first))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Finishes what is being answered, for at most `grace_s` seconds, then closes everything."""
        if self._listener is not None:
            self._listener.close()
        if self._arriving:
            await asyncio.wait(self._arriving)
        for connection in list(self._state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._state.connections or self._state.tasks:  # noqa: ASYNC110 - uvicorn keeps sets, no event
                    await asyncio.sleep(0.01)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        if self._date is not None:
            self._date.cancel()
            await self._lifespan.shutdown()

    def _protocol(self, first: bytes = b"") -> GuardedProtocol:
        return GuardedProtocol(
            self._config,
            self._state,
            self._lifespan.state,
            limits=self.limits,
            gate=self.gate,
            count=self._count,
            first=first,
        )

    async def _adopt(self, sock: socket.socket, first: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: self._protocol(first), sock)
        except OSError as error:
            sock.close()
            log.debug("http.adopt_failed", error=str(error))

    def _set_date(self) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]

    async def _keep_date(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._set_date()
