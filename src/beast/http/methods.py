"""Which methods a path takes: HEAD is GET without a body, but not where a GET changes something (RFC 9110, 9.2.1)."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import Message, Scope, Send

from beast.http.errors import METHOD_NOT_ALLOWED, FaultError

ACTS: Final = "acts"
"""In the `opt` of a GET that changes something; `no_head` is its guard."""
_HEAD: Final = "beast.head"


def as_get(scope: Scope) -> Scope:
    """A HEAD request as the GET that it asks about: the connection leaves the body out, so the headers are the same."""
    scope = scope.copy()
    scope["method"] = HttpMethod.GET  # type: ignore[typeddict-unknown-key]  # of an HTTP request
    scope[_HEAD] = True  # type: ignore[typeddict-unknown-key]
    return scope


def head_asked(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether nobody will get the body of the answer."""
    return _HEAD in connection.scope


def no_head(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guards a GET that changes something."""
    if head_asked(connection):
        raise FaultError(METHOD_NOT_ALLOWED, {"allow": "GET, OPTIONS"})


def allowed_methods(app: Litestar) -> dict[str, str]:
    """The Allow header of every path that has no parameters."""
    found = defaultdict[str, set[str]](set)
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            found[route.path] |= {str(method) for method in handler.http_methods}
            if "GET" in handler.http_methods and not handler.opt.get(ACTS):
                found[route.path].add("HEAD")
    return {path: ", ".join(sorted(methods)) for path, methods in found.items()}


def with_allow(send: Send, path: str, methods: Mapping[str, str]) -> Send:
    """Sends, and has an Allow header tell of all methods that the path takes: a route knows its own only."""
    allow = methods.get(path.rstrip("/") or "/", "").encode()

    async def sending(message: Message) -> None:
        if allow and message["type"] == "http.response.start":
            headers = [(name, allow if name == b"allow" else value) for name, value in message["headers"]]
            message["headers"] = headers
        await send(message)

    return sending
