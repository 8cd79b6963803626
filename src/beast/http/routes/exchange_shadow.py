"""Drafts of rows, which run in shadow before they go live, and versions. docs/shadow.md says how they are used."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import Meta

from beast.feeds.shadow.store import Terms
from beast.feeds.shadow.types import Change, Draft, DraftDetail, Version
from beast.http.audit import audit, note
from beast.http.errors import NO_EXCHANGE, FaultError
from beast.http.routes.exchanges import (
    BOOLEAN,
    INTEGER,
    OBJECT,
    ROWS,
    TEXT,
    AnyRequest,
    TheServices,
    admin_of,
    described,
    of_properties,
    read_body,
    refusals,
)
from beast.http.schema import FaultyColumns, PriceError
from beast.http.services import Services

DRAFT_BODY_MAX = 1 << 20
"""Bytes of a draft: a row and its assets."""
WHO = "operator"

DraftNumber = Annotated[int, Meta(ge=1, lt=1 << 31)]


class ToStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a draft would change, and what it must reach."""

    feed: dict[str, Any]
    assets: tuple[dict[str, Any], ...] = ()
    replace: bool = False
    bps: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    minutes: Annotated[int, Meta(ge=1, le=10_080)] | None = None
    auto: bool = True


class ToPromote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A draft."""

    id: DraftNumber


class ToReject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A draft, and why it is not wanted."""

    id: DraftNumber
    reason: Annotated[str, Meta(max_length=1_000)] = ""


class Drafts(msgspec.Struct, frozen=True):
    """The answer of GET /admin/exchange-shadow."""

    drafts: list[Draft]


class WentLive(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of POST /admin/exchange-shadow/promote."""

    id: int
    version: int
    """Of the exchange's rows, which are the draft's from here on."""


class Rejected(msgspec.Struct, frozen=True):
    """The answer of POST /admin/exchange-shadow/reject."""

    id: int


class Versions(msgspec.Struct, frozen=True):
    """The answer of GET /admin/exchange-versions."""

    versions: list[Version]


DRAFT = of_properties(
    ["feed"],
    feed=OBJECT,
    assets=ROWS,
    replace=BOOLEAN,
    bps=INTEGER,
    minutes=INTEGER,
    auto=BOOLEAN,
)
THE_ID = Schema(type=OpenAPIType.INTEGER, minimum=1)


def draft_refusals(*, faults: type[Any] = PriceError, missing: bool = True) -> dict[int, ResponseSpec]:
    """The errors of these routes, for their description."""
    found = refusals(faults=faults)
    if missing:
        found[404] = ResponseSpec(PriceError, description="not_found: no such draft", generate_examples=False)
    found[409] = ResponseSpec(PriceError, description="not_now: see the message", generate_examples=False)
    return found


def now(services: Services) -> datetime:
    """By the server's clock."""
    return datetime.fromtimestamp(services.clock.wall_ns() / 1e9, UTC)


@get("/exchange-shadow", summary="The drafts of exchanges' rows, and how far they have come", responses=refusals())
async def get_drafts(
    request: AnyRequest,
    services: TheServices,
    exchange: FromQuery[str | None] = None,
    before: Annotated[int | None, QueryParameter(ge=1, lt=1 << 31)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 100,
) -> Drafts:
    """The newest first; `before` is the id that the last page ended with."""
    _check_name(exchange)
    drafts = await admin_of(services).drafts.list_drafts(exchange, before=before, limit=limit)
    note(request, "exchange-shadow.list", exchange=exchange)
    return Drafts(drafts)


@get(
    "/exchange-shadow/{number:int}",
    summary="One draft with its evidence: every asset beside the others, the last hour by minute",
    responses={404: draft_refusals()[404], **refusals()},
)
async def get_draft(request: AnyRequest, services: TheServices, number: FromPath[int]) -> DraftDetail:
    """The assets furthest off the others come first."""
    draft = await admin_of(services).drafts.find(number)
    note(request, "exchange-shadow.show", draft=draft.id)
    return draft


@post(
    "/exchange-shadow/start",
    summary="Run new or edited rows in shadow",
    operation_class=described(DRAFT),
    responses=draft_refusals(faults=FaultyColumns, missing=False),
)
async def start_draft(request: AnyRequest, services: TheServices) -> DraftDetail:
    """The body is what differs: columns of `feed`, rows of `assets`; `replace` deletes assets that are not named.

    It goes live when it has agreed with the others to `bps` for `minutes`: by itself, unless `auto` is false.
    """
    wanted = await read_body(request, ToStart, limit=DRAFT_BODY_MAX)
    change = Change(wanted.feed, wanted.assets, wanted.replace)
    terms = Terms(wanted.bps, wanted.minutes, wanted.auto)
    draft = await admin_of(services).drafts.start(change, terms, who=WHO, at=now(services))
    audit(
        request,
        "exchange-shadow.start",
        exchange=draft.exchange,
        draft=draft.id,
        columns=sorted(change.feed),
        assets=len(change.assets),
        replace=change.replace,
        **terms._asdict(),
    )
    return draft


@post(
    "/exchange-shadow/promote",
    status_code=200,
    summary="Take a draft live that has agreed for long enough",
    operation_class=described(of_properties(["id"], id=THE_ID)),
    responses=draft_refusals(faults=FaultyColumns),
)
async def promote_draft(request: AnyRequest, services: TheServices) -> WentLive:
    """What runs in shadow becomes the live rows, in one transaction; running servers follow within two seconds."""
    wanted = await read_body(request, ToPromote)
    version = await admin_of(services).drafts.promote(wanted.id, who=WHO, at=now(services))
    audit(request, "exchange-shadow.promote", draft=wanted.id, version=version)
    return WentLive(id=wanted.id, version=version)


@post(
    "/exchange-shadow/reject",
    status_code=200,
    summary="End a draft",
    operation_class=described(of_properties(["id"], id=THE_ID, reason=TEXT)),
    responses=draft_refusals(),
)
async def reject_draft(request: AnyRequest, services: TheServices) -> Rejected:
    """It runs no longer; the live rows stay as they are."""
    wanted = await read_body(request, ToReject)
    reason = wanted.reason.replace("\0", "")
    await admin_of(services).drafts.reject(wanted.id, who=WHO, at=now(services), reason=reason)
    audit(request, "exchange-shadow.reject", draft=wanted.id, reason=reason)
    return Rejected(wanted.id)


@get("/exchange-versions", summary="The versions of an exchange's rows: when, who, what", responses=refusals())
async def get_versions(
    request: AnyRequest,
    services: TheServices,
    exchange: FromQuery[str],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> Versions:
    """The newest first, whoever made them; a hundred are kept of each exchange."""
    _check_name(exchange)
    versions = await admin_of(services).drafts.versions(exchange, limit=limit)
    note(request, "exchange-versions.list", exchange=exchange)
    return Versions(versions)


def _check_name(exchange: str | None) -> None:
    if exchange is not None and "\0" in exchange:
        raise FaultError(NO_EXCHANGE)


ROUTES = [get_drafts, get_draft, start_draft, promote_draft, reject_draft, get_versions]
