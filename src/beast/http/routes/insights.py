"""What the database tells an operator: usage summed up, the daily rollup, its own health, and typed questions."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromQuery, SkipValidation
from msgspec import Meta

from beast.http.audit import audit
from beast.http.errors import JSON, NO_INSIGHTS, FaultError
from beast.http.routes.exchanges import INTEGER, TEXT, described, of_properties, read_body, refusals
from beast.http.services import Services
from beast.insights.service import SQL_MS, SQL_MS_MAX, SQL_ROWS, SQL_ROWS_MAX, InsightService
from beast.insights.types import Insights, Rollup, Summary

AnyRequest = Request[Any, Any, Any]
TheServices = NamedDependency[SkipValidation[Services]]


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /admin/sql."""

    sql: str
    args: list[Any] = []
    rows: Annotated[int, Meta(ge=1, le=SQL_ROWS_MAX)] = SQL_ROWS
    timeout_ms: Annotated[int, Meta(ge=1, le=SQL_MS_MAX)] = SQL_MS


def insights_of(services: Services) -> InsightService:
    """The running part behind these routes. Raises FaultError when this server has none."""
    if services.insights is None:
        raise FaultError(NO_INSIGHTS)
    return services.insights


@get("/usage/summary", summary="Usage of a period by every dimension, in one pass", responses=refusals())
async def get_summary(
    services: TheServices,
    since: FromQuery[datetime | None] = None,
    until: FromQuery[datetime | None] = None,
    top: FromQuery[int] = 10,
) -> Summary:
    """The last 24 hours, unless `since` and `until` say otherwise; of each dimension the `top` values."""
    return await insights_of(services).summary(since, until, top)


@get("/admin/daily-rollup", summary="Usage by day, refreshed every five minutes", responses=refusals())
async def get_rollup(
    services: TheServices, days: FromQuery[int] = 7, dimension: FromQuery[str | None] = None
) -> Rollup:
    """Rows of `mv_usage_daily`, the newest day first, and how old they are."""
    return await insights_of(services).rollup(days, dimension)


@get("/db-insights", summary="How the database fares since its statistics were last reset", responses=refusals())
async def get_insights(services: TheServices, top: FromQuery[int] = 10) -> Insights:
    """Buffer hit ratio, the statements that take most time and most calls, scans by table, sessions."""
    return await insights_of(services).insights(top)


@post("/db-insights/reset", status_code=200, summary="Begin the statistics anew", responses=refusals())
async def reset_insights(request: AnyRequest, services: TheServices) -> dict[str, bool]:
    """Of this database and of its statements."""
    await insights_of(services).reset()
    audit(request, "db-insights.reset")
    return {"reset": True}


@post(
    "/sql",
    status_code=200,
    summary="Ask the database one question, read-only",
    operation_class=described(
        of_properties(
            ["sql"],
            sql=TEXT,
            args=Schema(type=OpenAPIType.ARRAY, items=Schema(), description="values of $1, $2, …"),
            rows=INTEGER,
            timeout_ms=INTEGER,
        )
    ),
    responses=refusals(),
)
async def ask_sql(request: AnyRequest, services: TheServices) -> Response[bytes]:
    """One statement with `$1`, `$2`, … for `args`, by a role that can only read, within limits of time and rows."""
    question = await read_body(request, Question)
    audit(request, "sql", sql=question.sql, args=len(question.args))
    answer = await insights_of(services).sql(
        question.sql, question.args, rows=question.rows, timeout_ms=question.timeout_ms
    )
    return Response(msgspec.json.encode(answer, enc_hook=str), media_type=JSON)


ROUTES = [get_summary, get_insights, reset_insights, ask_sql]
DASHBOARD_ROUTES = [get_rollup]
