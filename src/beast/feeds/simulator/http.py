"""The REST side: the exchanges' own paths, and /_sim where faults are switched, as a plain ASGI application."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from beast.base.errors import UsageError
from beast.feeds.simulator import rest
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.faults import FaultRequest

LARGEST_BODY = 64 * 1024

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Reply = tuple[int, Any]


class Control(Protocol):
    """What /_sim works on."""

    exchanges: Mapping[str, SimulatedExchange]

    def fault(self, exchange: str, kind: str, seconds: float | None = None, **args: float | str) -> None:
        """Puts a fault in force."""

    def clear(self, exchange: str = "*", kind: str | None = None) -> None:
        """Ends faults."""

    def state(self) -> dict[str, object]:
        """What goes on."""


class Application:
    """The ASGI application.

    Args:
        control: What answers are made from.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        body = await _body(receive)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        try:
            status, answer = await self._answer(scope["method"], scope["path"], query, body)
        except (UsageError, msgspec.DecodeError) as error:
            status, answer = 400, {"error": str(error)}
        content = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def _answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        name, _, rest_of_path = path.removeprefix("/").partition("/")
        if name == "_sim":
            return self._control_request(f"{method} {rest_of_path}", query, body)
        exchange = self._control.exchanges.get(name)
        if exchange is None:
            return 404, {"error": f"no exchange {name!r}: use one of {', '.join(self._control.exchanges)}"}
        if method not in ("GET", "HEAD") and not (method == "POST" and name in rest.POST_ROUTES):
            return 405, {"error": f"{method} is not understood here"}
        if slow := exchange.faults.get("slow"):
            await asyncio.sleep(slow.number("ms") / 1000)
        if exchange.faults.get("rest"):
            return 503, {"error": "refused by the simulator"}
        if exchange.faults.get("too_many"):
            return 429, {"error": "too many requests"}
        return rest.answer(name, exchange, f"/{rest_of_path}", query, post=method == "POST")

    def _control_request(self, request: str, query: Mapping[str, str], body: bytes) -> Reply:
        match request:
            case "GET state":
                return 200, self._control.state()
            case "POST fault":
                wanted = msgspec.json.decode(body, type=FaultRequest)
                self._control.fault(wanted.exchange, wanted.kind, wanted.seconds, **wanted.args)
                return 200, self._control.state()
            case "DELETE fault":
                self._control.clear(query.get("exchange", "*"), query.get("kind"))
                return 200, self._control.state()
        return 404, {"error": "use GET /_sim/state, POST /_sim/fault or DELETE /_sim/fault?exchange=&kind="}


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > LARGEST_BODY:
            return bytes(body[:LARGEST_BODY])


class HttpServer:
    """uvicorn's protocol on a listener of our own, so that the process keeps its signal handlers.

    Args:
        application: What answers.
    """

    def __init__(self, application: Application) -> None:
        self._config = uvicorn.Config(application, ws="none", lifespan="off", log_config=None, access_log=False)
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens, and returns the port.

        Raises:
            OSError: the address can't be had.
        """
        self._config.load()
        self._server = await asyncio.get_running_loop().create_server(self._protocol, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stops listening, lets requests in progress end and closes connections."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(tuple(self._state.tasks), timeout=1.0)
        self._server = None

    def _protocol(self) -> HttpToolsProtocol:
        return HttpToolsProtocol(config=self._config, server_state=self._state, app_state={})
