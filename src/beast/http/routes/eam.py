"""The exchange admin: lists for other programs, the prewarm audit, and what is worth mapping."""

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery
from msgspec import Meta

from beast.cluster.asset_lists import SyncedLists
from beast.feeds.admin.audit import Audit
from beast.feeds.admin.discover import Discovered
from beast.http.audit import audit, note
from beast.http.errors import BUSY, JSON, NO_RUN, FaultError
from beast.http.methods import ACTS, no_head
from beast.http.routes.exchanges import (
    INTEGER,
    TEXT,
    AnyRequest,
    ExchangeName,
    TheServices,
    admin_of,
    described,
    of_properties,
    read_body,
    refusals,
)


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to discover."""

    exchange: ExchangeName | None = None
    """Only this one; else all that are on."""
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 20
    seconds: Annotated[float, Meta(ge=1, le=60)] = 20
    """How long to ask for volumes."""


@post(
    "/eam/sync",
    status_code=200,
    summary="Write each exchange's assets, and the master list, into application_parameters",
    responses=refusals(),
)
async def sync(request: AnyRequest, services: TheServices) -> SyncedLists:
    """The parameters `exchange_assets_NAME` and `exchange_assets_master`, each one record of CSV."""
    synced = await admin_of(services).lists.sync()
    audit(request, "eam.sync", parameters=synced.parameters)
    return synced


@get(
    "/eam/audit",
    summary="Start the prewarm audit, or show how far one has come",
    guards=[no_head],
    opt={ACTS: True},
    responses={
        200: ResponseSpec(Audit, description="The audit of this id", generate_examples=False),
        202: ResponseSpec(Audit, description="The audit that runs now", generate_examples=False),
        **refusals(404),
    },
)
async def get_audit(request: AnyRequest, services: TheServices, id: FromQuery[str | None] = None) -> Response[bytes]:  # noqa: A002
    """Without `id` one is started, unless one runs; it goes on in the background, and its `id` shows it."""
    audits = admin_of(services).audits
    if id is None:
        found, began = audits.start()
        status = 202
        audit(request, "eam.audit", id=found.id, began=began)
    else:
        known = audits.find(id)
        if known is None:
            raise FaultError(NO_RUN)
        found, status = known, 200
        note(request, "eam.audit.show", id=found.id)
    return Response(msgspec.json.encode(found), status_code=status, media_type=JSON)


@post(
    "/eam/discover",
    status_code=200,
    summary="The assets that are not mapped, by their volume of 24 hours",
    operation_class=described(of_properties([], exchange=TEXT, limit=INTEGER, seconds=INTEGER)),
    responses=refusals(409),
)
async def discover(request: AnyRequest, services: TheServices) -> Discovered:
    """Asks the exchanges within their limits, for `seconds`; a further call goes on with what is left."""
    wanted = await read_body(request, Search)
    discovery = admin_of(services).discovery
    if discovery.running:
        raise FaultError(BUSY)
    found = await discovery.top(wanted.limit, exchange=wanted.exchange, seconds=wanted.seconds)
    audit(request, "eam.discover", exchange=wanted.exchange, markets=len(found.markets))
    return found


ROUTES = [sync, get_audit, discover]
