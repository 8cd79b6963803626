"""The ASGI application of the price port: Litestar, its routes, and what holds for all of them."""

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ASGIApp

from beast.cluster.parameters import ParameterSync
from beast.cluster.types import Parameters
from beast.http.account_admin import AccountAdmin
from beast.http.audit import TRAIL
from beast.http.auth import AdminKey
from beast.http.errors import EXCEPTION_HANDLERS, NO_ACCOUNTS, FaultError
from beast.http.front import Front, describe_api, get_openapi
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
    usage_proof,
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
                    *(route for room in (keys, users, tiers, usage, usage_proof, audit) for route in room.ROUTES),
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
        openapi_config=describe_api(
            "Trinity Beast",
            "Crypto prices from memory. GETs that change nothing take HEAD. UDP is in docs/protocol.md.",
        ),
        logging_config=None,
    )
    return Front(app, key)


def accounts_of(services: Services) -> AccountAdmin:
    """What the routes of accounts call. Raises FaultError when this server has none."""
    if services.accounts is None:
        raise FaultError(NO_ACCOUNTS)
    return services.accounts
