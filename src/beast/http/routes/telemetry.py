"""What the server has counted: for people under /admin/, for collectors on the health port."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import SkipValidation

from beast.engine.telemetry import Stats
from beast.http.audit import audit
from beast.http.methods import ACTS, no_head
from beast.http.openmetrics import CONTENT_TYPE
from beast.http.services import Services

TheServices = NamedDependency[SkipValidation[Services]]


@get("/stress-stats", summary="Counters, rates and latencies since the base line")
async def get_stress_stats(services: TheServices) -> dict[str, object]:
    """The operator's 24 counters and everything derived from them, since the last reset."""
    return _shown(services, services.telemetry.stats())


@get("/stress-reset", summary="Move the base line of stress-stats to now", guards=[no_head], opt={ACTS: True})
async def get_stress_reset(request: Request[Any, Any, Any], services: TheServices) -> dict[str, object]:
    """Counts from zero for readers of stress-stats; answers with what there was until now."""
    stats = services.telemetry.reset()
    audit(request, "stress-reset", since_reset_s=round(stats.since_reset_s, 3))
    return _shown(services, stats)


def metrics_route(expose: Callable[[], Awaitable[str]]) -> HTTPRouteHandler:
    """GET /metrics, answered with what `expose` tells at that moment."""

    @get("/metrics")
    async def get_metrics() -> Response[str]:
        return Response(await expose(), headers={"content-type": CONTENT_TYPE})

    return get_metrics


def _shown(services: Services, stats: Stats) -> dict[str, object]:
    """One object, with the 24 beside the figures: dashboards look for them there."""
    about = {"node": services.node, "region": services.region, "uptime_s": services.uptime_s()}
    others = msgspec.structs.asdict(stats)
    public = others.pop("public")
    return {**about, **public, **others}


ROUTES = [get_stress_stats, get_stress_reset]
