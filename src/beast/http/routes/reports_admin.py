"""Reports for the operator: of all keys or any, not limited; who made which; and the add-on that lifts a limit."""

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery
from msgspec import Meta

from beast.base.errors import UsageError
from beast.http.audit import audit
from beast.http.errors import JSON
from beast.http.report_schema import RecordsPage, ReportDocument
from beast.http.report_services import ReportStatus
from beast.http.routes.exchanges import BOOLEAN, INTEGER, described, of_properties, read_body
from beast.http.routes.reports import (
    ERRORS,
    Answer,
    AnyRequest,
    RecordsOperation,
    ReportOperation,
    TheServices,
    address_of,
    guarded,
    make_records,
    make_report,
)
from beast.reports.service import Asker
from beast.reports.types import Made

MADE_MAX = 1000
NEWEST = 2**63 - 1


class Addon(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Gives a customer the add-on that lifts the limit of reports, or takes it."""

    key: Annotated[int, Meta(ge=1, le=NEWEST)]
    """Any API key of the customer's, by id."""
    unlimited: bool


class AddonSet(msgspec.Struct, frozen=True):
    """The answer of POST /admin/report/addon."""

    key: int
    unlimited: bool
    changed: bool


class MadeList(msgspec.Struct, frozen=True):
    """The answer of GET /admin/report/made, the newest first."""

    made: list[Made]


@get(
    "/report",
    summary="What all API keys, or some of them, were answered, in figures",
    operation_class=ReportOperation,
    responses={200: ResponseSpec(ReportDocument, description="The report", generate_examples=False), **ERRORS},
)
async def get_report(request: AnyRequest, services: TheServices) -> Answer:
    """As GET /report, of all keys; `key` chooses some."""
    services.count("lrs_requests")
    return await guarded(lambda: make_report(request, services, Asker(address=address_of(request), key=None)))


@get(
    "/report/records",
    summary="The records behind a number of such a report, page by page",
    operation_class=RecordsOperation,
    responses={200: ResponseSpec(RecordsPage, description="The page", generate_examples=False), **ERRORS},
)
async def get_records(request: AnyRequest, services: TheServices) -> Answer:
    """As GET /report/records, of all keys; `key` chooses some."""
    services.count("lrs_requests")
    return await guarded(lambda: make_records(request, services, Asker(address=address_of(request), key=None)))


@get("/status", summary="The server's state: ports, health, reports under way")
async def get_status(services: TheServices) -> ReportStatus:
    """What `beast status` shows of a server that serves no prices."""
    return services.status()


@get(
    "/report/made",
    summary="The reports that were made: by whom, of what, how long that took",
    responses={400: ERRORS[400]},
)
async def get_made(
    services: TheServices,
    key: FromQuery[int | None] = None,
    before: FromQuery[int | None] = None,
    limit: FromQuery[int] = 100,
) -> Response[bytes]:
    """The newest first; `before` is the id of the last one seen."""
    if not 1 <= limit <= MADE_MAX:
        raise UsageError(f"limit = {limit} is not allowed", todo=f"allowed: 1 to {MADE_MAX}")
    keys = None if key is None else [key]
    made = await services.reports.store.list_made(keys=keys, before=before or NEWEST, limit=limit)
    return Response(msgspec.json.encode(MadeList(made)), media_type=JSON)


@post(
    "/report/addon",
    status_code=200,
    summary="Give a customer the add-on that lifts the limit of reports, or take it",
    operation_class=described(of_properties(["key", "unlimited"], key=INTEGER, unlimited=BOOLEAN)),
    responses={400: ERRORS[400], 401: ERRORS[401], 503: ERRORS[503]},
)
async def set_addon(request: AnyRequest, services: TheServices) -> AddonSet:
    """It counts where the tier says that it may be bought."""
    wanted = await read_body(request, Addon)
    changed = await services.reports.set_addon(wanted.key, unlimited=wanted.unlimited)
    audit(request, "report.addon", key=wanted.key, unlimited=wanted.unlimited, changed=changed)
    return AddonSet(wanted.key, wanted.unlimited, changed)


ROUTES = [get_report, get_records, get_made, set_addon, get_status]
