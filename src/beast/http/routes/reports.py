"""GET /report, /report/records and /report/limit: an owner's own usage. docs/reports.md says how they are used."""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import SkipValidation
from litestar.response import Stream

from beast.accounts.access import AccessDeniedError
from beast.accounts.months import utc
from beast.http.errors import BAD_REQUEST, JSON, OVERLOADED, Fault, FaultError, error_body
from beast.http.methods import head_asked
from beast.http.query import BadRequestError, read_key
from beast.http.report_schema import LimitReached, NotAcceptable, RecordsPage, ReportDocument
from beast.http.report_services import ReportServices
from beast.http.routes.prices import SECURITY, parameter
from beast.http.schema import PriceError
from beast.reports.asking import PERIODS, read_pairs, read_records, read_report
from beast.reports.formats import CONTENT_TYPES, MEDIA_TYPES, NotAcceptableError, choose
from beast.reports.limiter import LimitReachedError
from beast.reports.lines import LimitTold
from beast.reports.service import Asker, Product
from beast.reports.turns import BusyError
from beast.reports.types import DIMENSIONS, Allowance, Format, Period

AnyRequest = Request[Any, Any, Any]
TheServices = NamedDependency[SkipValidation[ReportServices]]
Answer = Response[Any]

TABLES: tuple[Format, ...] = ("json", "csv")
"""The formats of records."""
TOO_MANY = Fault(429, "rate_limited", "too many requests without a valid API key; try again in a second")

COMMON = [
    parameter("period", OpenAPIType.STRING, f"One of {PERIODS}; without it, and without `from`: the last 30 days"),
    parameter("from", OpenAPIType.STRING, "A day, or a time of RFC 3339; instead of `period`"),
    parameter("to", OpenAPIType.STRING, "The first moment that is no longer part of it; without it: now"),
    *(
        parameter(name, OpenAPIType.STRING, f"Only this {name}, or these, comma-joined")
        for name in ("asset", "exchange", "source", "node", "protocol", "state", "tier", "key")
    ),
]
GROUP = parameter("group", OpenAPIType.STRING, f"Comma-joined: {', '.join(DIMENSIONS)}, or two with a slash between")
AFTER = parameter("after", OpenAPIType.STRING, "The place behind which the page begins, from the page before")
LIMIT = parameter("limit", OpenAPIType.INTEGER, "Records on the page, 1 to 1,000,000; without it 100")

ERRORS = {
    400: ResponseSpec(PriceError, description="bad_request", generate_examples=False),
    401: ResponseSpec(PriceError, description="unauthorized", generate_examples=False),
    406: ResponseSpec(NotAcceptable, description="not_acceptable", generate_examples=False),
    503: ResponseSpec(PriceError, description="unavailable: busy, or the database is away", generate_examples=False),
}
LIMITED = {429: ResponseSpec(LimitReached, description="rate_limited; see Retry-After", generate_examples=False)}


def format_parameter(formats: Sequence[Format]) -> Parameter:
    """`format`, in the OpenAPI description."""
    return parameter("format", OpenAPIType.STRING, f"One of {', '.join(formats)}; without it Accept chooses")


def in_formats(operation: Operation, formats: Sequence[Format]) -> None:
    """Tells that the answer comes in these media types, too."""
    answer = (operation.responses or {}).get("200")
    if isinstance(answer, OpenAPIResponse) and answer.content is not None:
        for form in formats:
            binary = Schema(type=OpenAPIType.STRING)
            answer.content.setdefault(MEDIA_TYPES[form], OpenAPIMediaType(schema=binary))


@dataclass
class ReportOperation(Operation):
    """A report in the OpenAPI description."""

    def __post_init__(self) -> None:
        """Litestar sees no parameters: the query is read by our own rules."""
        self.parameters = [*COMMON, GROUP, format_parameter(tuple(MEDIA_TYPES))]
        in_formats(self, tuple(MEDIA_TYPES))


@dataclass
class RecordsOperation(Operation):
    """A page of records in the OpenAPI description."""

    def __post_init__(self) -> None:
        """See ReportOperation."""
        self.parameters = [*COMMON, AFTER, LIMIT, format_parameter(TABLES)]
        in_formats(self, TABLES)


@get(
    "/report",
    summary="What your API key was answered, in figures",
    operation_class=ReportOperation,
    responses={
        200: ResponseSpec(ReportDocument, description="The report", generate_examples=False),
        **ERRORS,
        **LIMITED,
    },
    security=SECURITY,
)
async def get_report(request: AnyRequest, services: TheServices) -> Answer:
    """Usage by asset, exchange, source, node, protocol, state, tier, day, hour and key, as JSON, CSV, XLSX or PDF."""
    services.count("lrs_requests")
    return await guarded(lambda: _owned(request, services, make_report))


@get(
    "/report/records",
    summary="The records behind a number of a report, page by page",
    operation_class=RecordsOperation,
    responses={200: ResponseSpec(RecordsPage, description="The page", generate_examples=False), **ERRORS},
    security=SECURITY,
)
async def get_records(request: AnyRequest, services: TheServices) -> Answer:
    """One line for each answered request, oldest first. A page does not count as a report."""
    services.count("lrs_requests")
    return await guarded(lambda: _owned(request, services, make_records))


@get(
    "/report/limit",
    summary="How many reports you have made this month, and may make",
    responses={200: ResponseSpec(LimitTold, description="The limit", generate_examples=False), 401: ERRORS[401]},
    security=SECURITY,
)
async def get_limit(request: AnyRequest, services: TheServices) -> Answer:
    """Counts nothing."""
    services.count("lrs_requests")

    async def tell(request: AnyRequest, services: ReportServices, asker: Asker) -> Answer:  # noqa: ARG001
        assert asker.key is not None, "an owner"
        told = LimitTold.of(await services.reports.limiter.check(asker.key))
        return Response(msgspec.json.encode(told), media_type=JSON, headers={"cache-control": "no-store"})

    return await guarded(lambda: _owned(request, services, tell))


Make = Callable[[AnyRequest, ReportServices, Asker], Awaitable[Answer]]


async def _owned(request: AnyRequest, services: ReportServices, make: Make) -> Answer:
    """Answers an owner who proves a key; whoever proves none can't be wrong too often."""
    address = address_of(request)
    if not services.sources.allow(address):
        raise FaultError(TOO_MANY)
    try:
        key = await services.reports.who(read_key(request.scope["headers"]), address)
    except BadRequestError as error:
        raise FaultError(Fault(400, BAD_REQUEST.code, error.message)) from error
    except AccessDeniedError:
        services.sources.count(address)
        raise
    return await make(request, services, Asker(address=address, key=key))


async def make_report(request: AnyRequest, services: ReportServices, asker: Asker) -> Answer:
    """A report, on its way; or what HEAD would like to know of it."""
    given = read_pairs(request.query_params.multi_items(), "report")
    form = choose(given.pop("format", None), request.headers.get("accept"))
    now = utc(services.clock.wall_ns())
    query = read_report(given, now=now, visible=asker.visible)
    if asker.key is not None:
        await services.reports.limiter.expect(asker.key)
    if head_asked(request):
        return Response(b"", media_type=CONTENT_TYPES[form], headers=_headers(form, query.period))
    path = f"{request.scope['path'].rstrip('/')}/records"
    origin = str(request.base_url).rstrip("/")
    product = await services.reports.report(asker, query, form, path=path, origin=origin)
    return sent(product, form, _headers(form, query.period), now)


async def make_records(request: AnyRequest, services: ReportServices, asker: Asker) -> Answer:
    """A page of records, on its way."""
    given = read_pairs(request.query_params.multi_items(), "records")
    form = choose(given.pop("format", None), request.headers.get("accept"), TABLES)
    now = utc(services.clock.wall_ns())
    query = read_records(given, now=now, visible=asker.visible)
    if head_asked(request):
        return Response(b"", media_type=CONTENT_TYPES[form], headers=_headers(form, query.period))
    product = await services.reports.records(asker, query, form, path=request.scope["path"])
    return sent(product, form, _headers(form, query.period), now)


def sent(product: Product, form: Format, headers: dict[str, str], now: datetime) -> Answer:
    """The answer that carries it."""
    if product.allowance is not None:
        headers |= limit_headers(product.allowance, now)
    return Stream(product.flow.chunks(), media_type=CONTENT_TYPES[form], headers=headers)


async def guarded(answer: Callable[[], Awaitable[Answer]]) -> Answer:
    """The refusals of reports, as HTTP tells them. All others are in the table of errors."""
    try:
        return await answer()
    except NotAcceptableError as error:
        body = {"error": "not_acceptable", "message": str(error), "formats": error.formats}
        return _refusal(406, msgspec.json.encode(body))
    except BusyError as error:
        return _refusal(503, error_body(OVERLOADED.code, str(error)), {"retry-after": "5"})
    except LimitReachedError as error:
        return limit_reached(error)


def limit_reached(error: LimitReachedError) -> Answer:
    """Status 429, with the time when there are new ones."""
    left = error.allowance.resets_at - error.now
    body = {
        "error": "rate_limited",
        "message": str(error),
        "retry_after_ms": left // timedelta(milliseconds=1),
        "resets_at": error.allowance.resets_at,
    }
    headers = limit_headers(error.allowance, error.now)
    return _refusal(429, msgspec.json.encode(body), {**headers, "retry-after": headers["ratelimit-reset"]})


def limit_headers(allowance: Allowance, now: datetime) -> dict[str, str]:
    """How many reports there are this month, how many are left, and the seconds until there are new ones."""
    if allowance.allowed is None:
        return {}
    return {
        "ratelimit-limit": str(allowance.allowed),
        "ratelimit-remaining": str(max(0, allowance.allowed - allowance.in_month)),
        "ratelimit-reset": str(math.ceil((allowance.resets_at - now).total_seconds())),
    }


def address_of(request: AnyRequest) -> str:
    """Where the request came from."""
    return request.client.host if request.client else "0.0.0.0"  # noqa: S104 - told, not bound


def _headers(form: Format, period: Period) -> dict[str, str]:
    name = f"beast-{period.since:%Y-%m-%d}-{period.until:%Y-%m-%d}.{form}"
    shown = "inline" if form == "json" else "attachment"
    return {
        "cache-control": "no-store",
        "vary": "accept",
        "content-disposition": f'{shown}; filename="{name}"',
    }


def _refusal(status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    return Response(body, status_code=status, media_type=JSON, headers={"cache-control": "no-store", **(headers or {})})


ROUTES = [get_report, get_records, get_limit]
