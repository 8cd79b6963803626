"""GET /health/live and /health/ready, on a port of their own so that a load balancer needs no key."""

import msgspec
from litestar import Litestar, Response, get
from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from litestar.types import ControllerRouterHandler

from beast.http.errors import EXCEPTION_HANDLERS


class HealthReport(msgspec.Struct):
    """The answer of /health/ready."""

    ready: bool
    reasons: dict[str, str]
    degraded: dict[str, str]
    facts: dict[str, str] = {}
    """What is neither good nor bad, such as how limits are kept."""


class Health:
    """What is wrong with this server, by part.

    A blocking part makes it not ready: a balancer should send requests elsewhere. A degraded part is told,
    but the server goes on answering from memory, and so do its neighbours: taking all of them out would turn
    a lost database into an outage.
    """

    def __init__(self) -> None:
        self._blocking: dict[str, str] = {}
        self._degraded: dict[str, str] = {}
        self._facts: dict[str, str] = {}

    @property
    def ready(self) -> bool:
        """Whether requests should come here."""
        return not self._blocking

    def block(self, part: str, reason: str) -> None:
        """Not ready, because of `part`."""
        self._blocking[part] = reason

    def degrade(self, part: str, reason: str | None) -> None:
        """Ready all the same, but `part` is not as it should be; None: it is well again."""
        if reason is None:
            self._degraded.pop(part, None)
        else:
            self._degraded[part] = reason

    def note(self, part: str, fact: str) -> None:
        """How `part` is, for who wants to know."""
        self._facts[part] = fact

    def unblock(self, part: str) -> None:
        """`part` no longer stands in the way."""
        self._blocking.pop(part, None)

    def report(self) -> HealthReport:
        """The answer of /health/ready."""
        return HealthReport(
            ready=self.ready,
            reasons=dict(self._blocking),
            degraded=dict(self._degraded),
            facts=dict(self._facts),
        )


@get("/health/live")
async def get_live() -> dict[str, bool]:
    """The process runs and its loop turns."""
    return {"live": True}


@get("/health/ready")
async def get_ready(health: NamedDependency[SkipValidation[Health]]) -> Response[HealthReport]:
    """Whether requests should be sent here, and if not, why."""
    report = health.report()
    return Response(report, status_code=200 if report.ready else 503)


def build_health_app(health: Health, *routes: ControllerRouterHandler) -> Litestar:
    """The application of the health port: the two checks, and `routes`."""
    return Litestar(
        route_handlers=[get_live, get_ready, *routes],
        dependencies={"health": Provide(lambda: health, sync_to_thread=False)},
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
