"""The ASGI application of the price port: Litestar, its routes, and what holds for all of them."""

from importlib.metadata import version
from typing import Any

from litestar import Litestar, Request, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ScopeType
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Receive, Scope, Send

from beast.cluster.parameters import ParameterSync
from beast.cluster.types import Parameters
from beast.http.account_admin import AccountAdmin
from beast.http.audit import TRAIL
from beast.http.auth import ADMIN_HEADER, AdminKey, is_admin_path
from beast.http.docs import DocsPage
from beast.http.errors import EXCEPTION_HANDLERS, JSON, NO_ACCOUNTS, UNAUTHORIZED, Fault, FaultError
from beast.http.methods import allowed_methods, as_get, with_allow
from beast.http.routes import (
    admin,
    audit,
    catalogue,
    eam,
    exchange_shadow,
    exchanges,
    feeds_health,
    insights,
    keys,
    prices,
    stream,
    telemetry,
    tiers,
    usage,
    users,
    why,
)
from beast.http.server import HttpServer
from beast.http.services import Services
from beast.http.stream.hub import Hub, running

ADMIN_ROOMS = (admin, telemetry, exchanges, exchange_shadow, eam, feeds_health, insights, why)


def price_server(services: Services, admin_key: str, parameters: ParameterSync) -> HttpServer:
    """The ASGI side of the price port, steered by the parameters."""
    hub = Hub(services.engine, services.clock)
    server = HttpServer(build_app(services, admin_key, hub), count=services.engine.count)

    def steer(new: Parameters) -> None:
        server.gate.limit(new.http_connections_per_source)
        hub.tune(interval_ms=new.stream_interval_ms, idle_ms=new.stream_idle_ms, max_clients=new.stream_max_clients)

    parameters.on_change(steer)
    return server


def build_app(services: Services, admin_key: str, hub: Hub | None = None) -> ASGIApp:
    """The application of the price port; it runs the hub while it lives."""
    key = AdminKey(admin_key)
    streams = Hub(services.engine, services.clock) if hub is None else hub
    accounts = services.accounts
    app = Litestar(
        route_handlers=[
            *prices.ROUTES,
            *catalogue.ROUTES,
            *stream.ROUTES,
            *usage.OWN_ROUTES,
            Router(
                "/admin",
                route_handlers=[
                    *(route for room in ADMIN_ROOMS for route in room.ROUTES),
                    *(route for room in (keys, users, tiers, usage, audit) for route in room.ROUTES),
                ],
                guards=[key.guard],
                security=[{"admin_key": []}],
            ),
            Router(
                "/dashboard/api",
                route_handlers=insights.DASHBOARD_ROUTES,
                guards=[key.guard],
                security=[{"admin_key": []}],
            ),
            get_openapi,
        ],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "hub": Provide(lambda: streams, sync_to_thread=False),
            "accounts": Provide(lambda: accounts_of(services), sync_to_thread=False),
        },
        lifespan=[lambda _: running(streams), *(() if accounts is None else (lambda _: accounts.trail.running(),))],
        state=State({TRAIL: None if accounts is None else accounts.trail}),
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=_openapi(),
        logging_config=None,
    )
    return Front(app, key)


def accounts_of(services: Services) -> AccountAdmin:
    """What the routes of accounts call. Raises FaultError when this server has none."""
    if services.accounts is None:
        raise FaultError(NO_ACCOUNTS)
    return services.accounts


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


def _openapi() -> OpenAPIConfig:
    schemes: dict[str, SecurityScheme] = {
        "bearer": SecurityScheme(type="http", scheme="bearer"),
        "api_key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
        "admin_key": SecurityScheme(type="apiKey", name="X-Admin-Key", security_scheme_in="header"),
    }
    return OpenAPIConfig(
        title="Trinity Beast",
        version=version("trinity-beast"),
        description="Crypto prices from memory. GETs that change nothing take HEAD. UDP is in docs/protocol.md.",
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
