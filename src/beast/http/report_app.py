"""The ASGI application of the report port."""

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ASGIApp

from beast.cluster.parameters import ParameterSync
from beast.cluster.types import Parameters
from beast.http.audit import TRAIL
from beast.http.auth import AdminKey
from beast.http.errors import EXCEPTION_HANDLERS
from beast.http.front import Front, describe_api, get_openapi
from beast.http.report_services import ReportServices
from beast.http.routes import reports, reports_admin
from beast.http.server import HttpServer


def report_server(services: ReportServices, admin_key: str, parameters: ParameterSync) -> HttpServer:
    """The server of the report port, steered by the parameters."""
    server = HttpServer(build_report_app(services, admin_key))

    def steer(new: Parameters) -> None:
        server.gate.limit(new.http_connections_per_source)

    parameters.on_change(steer)
    return server


def build_report_app(services: ReportServices, admin_key: str) -> ASGIApp:
    """The application of the report port."""
    key = AdminKey(admin_key)
    app = Litestar(
        route_handlers=[
            *reports.ROUTES,
            Router(
                "/admin",
                route_handlers=reports_admin.ROUTES,
                guards=[key.guard],
                security=[{"admin_key": []}],
            ),
            get_openapi,
        ],
        dependencies={"services": Provide(lambda: services, sync_to_thread=False)},
        lifespan=[lambda _: services.trail.running()],
        state=State({TRAIL: services.trail}),
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=describe_api(
            "Trinity Beast, reports",
            "What was answered, to whom, how fast and from where. The UDP side is in docs/reports.md.",
        ),
        logging_config=None,
    )
    return Front(app, key)
