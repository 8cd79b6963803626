"""What every application of ours has before its routes: the admin key, HEAD, and the description."""

from importlib.metadata import version
from typing import Any

from litestar import Litestar, Request, get
from litestar.enums import ScopeType
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Receive, Scope, Send

from beast.http.auth import ADMIN_HEADER, AdminKey, is_admin_path
from beast.http.docs import DocsPage
from beast.http.errors import JSON, UNAUTHORIZED, Fault
from beast.http.methods import allowed_methods, as_get, with_allow


class Front:
    """What must hold before a route is chosen.

    Under /admin/ nothing is told without the key, not even whether a path exists.
    """

    def __init__(self, app: Litestar, key: AdminKey) -> None:
        self._app = app
        self._key = key
        self._methods = allowed_methods(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == ScopeType.HTTP:
            if is_admin_path(scope["path"]) and not self._key.opens(_header(scope, ADMIN_HEADER)):
                await _send(send, UNAUTHORIZED)
                return
            send = with_allow(send, scope["path"], self._methods)
            if scope["method"] == "HEAD":
                scope = as_get(scope)
        await self._app(scope, receive, send)


@get("/openapi.json", include_in_schema=False, media_type="application/vnd.oai.openapi+json", sync_to_thread=False)
def get_openapi(request: Request[Any, Any, Any]) -> dict[str, object]:
    """The OpenAPI 3.1 description of this server."""
    return request.app.openapi_schema.to_schema()


def describe_api(title: str, description: str) -> OpenAPIConfig:
    """What the description of an application says of the whole."""
    schemes: dict[str, SecurityScheme] = {
        "bearer": SecurityScheme(type="http", scheme="bearer"),
        "api_key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
        "admin_key": SecurityScheme(type="apiKey", name="X-Admin-Key", security_scheme_in="header"),
    }
    return OpenAPIConfig(
        title=title,
        version=version("trinity-beast"),
        description=description,
        path="/docs",
        render_plugins=[DocsPage()],
        use_handler_docstrings=True,
        components=Components(security_schemes=dict(schemes)),
    )


def _header(scope: Scope, name: str) -> str | None:
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), None)


async def _send(send: Send, fault: Fault) -> None:
    headers = [(b"content-type", JSON.encode()), (b"content-length", str(len(fault.body)).encode())]
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": fault.body, "more_body": False})
