"""What a key's owner sees of its usage, and what the operator sees of caps that were reached."""

from datetime import UTC, date, datetime
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from beast.accounts.own_usage import Usage
from beast.accounts.types import Alert, Scope
from beast.http.audit import note
from beast.http.errors import JSON, Fault, FaultError
from beast.http.query import BadRequestError, read_key
from beast.http.routes.accounts import AnyRequest, Limit, MaybeNumber, Number, TheAccounts, next_page, refusals
from beast.http.routes.prices import SECURITY

OPENS: frozenset[Scope] = frozenset({"price", "report"})


class Alerts(msgspec.Struct, frozen=True):
    """A page of events."""

    alerts: list[Alert]
    next: int | None
    """The `after` of the next page; null: this is the last."""


@get(
    "/usage",
    summary="What your API key has used this month",
    responses={200: ResponseSpec(Usage, description="The month", generate_examples=False), **refusals()},
    security=SECURITY,
)
async def get_usage(request: AnyRequest, accounts: TheAccounts) -> Response[bytes]:
    """Tier, limits, what is used and left, when the month ends; by day and asset; the levels of the cap reached."""
    try:
        key = read_key(request.scope["headers"])
    except BadRequestError as error:
        raise FaultError(Fault(400, "bad_request", error.message)) from None
    row = await accounts.access.admit(key, OPENS, request.client.host if request.client else "")
    usage = await accounts.usage.of(row)
    return Response(msgspec.json.encode(usage), media_type=JSON, headers={"cache-control": "no-store"})


@get("/usage/alerts", summary="Levels of caps that were reached", responses=refusals(404))
async def get_alerts(
    request: AnyRequest,
    accounts: TheAccounts,
    *,
    after: Number = 0,
    limit: Limit = 100,
    key_id: MaybeNumber = None,
    month: Annotated[str | None, QueryParameter(pattern=r"^[0-9]{4}-[0-9]{2}$")] = None,
) -> Alerts:
    """In the order in which they were stored; of one key's line, or of one month such as 2026-11."""
    key = None if key_id is None else await accounts.keys.find_key(str(key_id))
    alerts = await accounts.usage.alerts(after=after, limit=limit, key=key, month=_month(month))
    note(request, "usage.alerts")
    return Alerts(alerts, next_page(len(alerts), limit, alerts[-1].id if alerts else 0))


def _month(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise FaultError(Fault(400, "bad_request", f"{text} is no month")) from None


OWN_ROUTES = [get_usage]
ROUTES = [get_alerts]
