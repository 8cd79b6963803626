"""API keys, for the operator. docs/accounts.md says how they are used."""

from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath, QueryParameter
from msgspec import Meta

from beast.accounts.own_usage import Usage
from beast.accounts.rules import GRACE_MAX, ID_MAX, TEXT_MAX
from beast.accounts.service import GRACE
from beast.accounts.types import (
    DEFAULT_SCOPES,
    NETWORKS_MAX,
    SCOPES,
    ApiKey,
    KeyChanges,
    NewKey,
    ShownKey,
    State,
    shown,
)
from beast.http.account_admin import AccountAdmin
from beast.http.audit import actor_of, note
from beast.http.routes.accounts import (
    AnyRequest,
    Limit,
    MaybeNumber,
    MaybeText,
    Number,
    TheAccounts,
    next_page,
    number_of,
    once_of,
    refusals,
    taking,
)
from beast.http.routes.exchanges import read_body


class Keys(msgspec.Struct, frozen=True):
    """A page of keys."""

    keys: list[ShownKey]
    next: int | None
    """The `after` of the next page; null: this is the last."""


class KeyToMake(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be."""

    tier: str
    label: str = ""
    expires_at: datetime | None = None
    user_id: Annotated[int, Meta(ge=0, le=ID_MAX)] | None = None
    scopes: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_SCOPES))
    networks: list[str] = []


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a key is rotated."""

    grace_s: Annotated[int, Meta(ge=0, le=int(GRACE_MAX.total_seconds()))] = int(GRACE.total_seconds())
    """Seconds that the old key goes on."""


def _texts(values: tuple[str, ...] | None, longest: int) -> Schema:
    item = Schema(type=OpenAPIType.STRING, enum=values)
    return Schema(type=OpenAPIType.ARRAY, items=item, max_items=longest)


_FIELDS = {
    "tier": Schema(type=OpenAPIType.STRING),
    "label": Schema(type=OpenAPIType.STRING, max_length=TEXT_MAX),
    "expires_at": Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL], format=OpenAPIFormat.DATE_TIME),
    "user_id": Schema(type=[OpenAPIType.INTEGER, OpenAPIType.NULL]),
    "scopes": _texts(SCOPES, len(SCOPES)),
    "networks": _texts(None, NETWORKS_MAX),
}
_GRACE = {"grace_s": Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=GRACE_MAX.total_seconds())}


async def _told(request: AnyRequest, accounts: AccountAdmin, act: Awaitable[ApiKey], what: str) -> ShownKey:
    """What may be shown of the key that `act` finds or changes; noted as `what`."""
    key = await act
    note(request, what, key=key.id)
    return shown(key, accounts.keys.now)


@get("/keys", summary="A page of API keys", responses=refusals())
async def list_keys(
    request: AnyRequest,
    accounts: TheAccounts,
    *,
    after: Number = 0,
    limit: Limit = 100,
    user_id: MaybeNumber = None,
    tier: MaybeText = None,
    key_state: Annotated[State | None, QueryParameter(name="state")] = None,
    label: MaybeText = None,
) -> Keys:
    """In the order of their ids: of one user, of one tier, in one state, or with a text in their label."""
    keys = await accounts.keys.list_keys(
        after=after, limit=limit, user_id=user_id, tier=tier, state=key_state, label=label
    )
    note(request, "keys.list")
    now = accounts.keys.now
    return Keys([shown(key, now) for key in keys], next_page(len(keys), limit, keys[-1].id if keys else 0))


@post(
    "/keys",
    status_code=201,
    summary="Make an API key; its text is told this once",
    operation_class=taking(_FIELDS, "tier", once=True),
    responses={201: ResponseSpec(NewKey, description="The key", generate_examples=False), **refusals(404, 422)},
)
async def create_key(request: AnyRequest, accounts: TheAccounts) -> NewKey:
    """The servers know it within a second."""
    wanted = await read_body(request, KeyToMake)
    key = await accounts.keys.create_key(
        **msgspec.structs.asdict(wanted), by=actor_of(request), once=await once_of(request, accounts)
    )
    note(request, "key.create", key=key.id, tier=key.tier)
    return key


@get("/keys/{key_id:str}", summary="One API key", responses=refusals(404))
async def get_key(request: AnyRequest, accounts: TheAccounts, key_id: FromPath[str]) -> ShownKey:
    """What may be shown of it."""
    return await _told(request, accounts, accounts.keys.find_key(number_of(key_id, "key")), "key.show")


@patch("/keys/{key_id:str}", summary="Change an API key", operation_class=taking(_FIELDS), responses=refusals(404, 409))
async def update_key(request: AnyRequest, accounts: TheAccounts, key_id: FromPath[str]) -> ShownKey:
    """What the body leaves out stays. A tier is changed for all keys of a line of rotated ones."""
    wanted = await read_body(request, KeyChanges)
    act = accounts.keys.update_key(number_of(key_id, "key"), wanted, by=actor_of(request))
    return await _told(request, accounts, act, "key.update")


@post(
    "/keys/{key_id:str}/rotate",
    status_code=201,
    summary="Make a key's successor; both are good until the grace is over",
    operation_class=taking(_GRACE, once=True),
    responses={
        201: ResponseSpec(NewKey, description="The new key", generate_examples=False),
        **refusals(404, 409, 422),
    },
)
async def rotate_key(request: AnyRequest, accounts: TheAccounts, key_id: FromPath[str]) -> NewKey:
    """They share limits and cap."""
    grace_s = (await read_body(request, Rotation)).grace_s
    key = await accounts.keys.rotate_key(
        number_of(key_id, "key"),
        grace=timedelta(seconds=grace_s),
        by=actor_of(request),
        once=await once_of(request, accounts),
    )
    note(request, "key.rotate", key=key_id, successor=key.id, grace_s=grace_s)
    return key


@post("/keys/{key_id:str}/revoke", status_code=200, summary="Revoke an API key for ever", responses=refusals(404))
async def revoke_key(request: AnyRequest, accounts: TheAccounts, key_id: FromPath[str]) -> ShownKey:
    """Every node refuses it within a second."""
    act = accounts.keys.revoke_key(number_of(key_id, "key"), by=actor_of(request))
    return await _told(request, accounts, act, "key.revoke")


@post(
    "/keys/{key_id:str}/pause",
    status_code=200,
    summary="Have an API key refused until it is resumed",
    responses=refusals(404, 409),
)
async def pause_key(request: AnyRequest, accounts: TheAccounts, key_id: FromPath[str]) -> ShownKey:
    """Every node refuses it within a second."""
    act = accounts.keys.pause_key(number_of(key_id, "key"), by=actor_of(request))
    return await _told(request, accounts, act, "key.pause")


@post("/keys/{key_id:str}/resume", status_code=200, summary="End the pause of an API key", responses=refusals(404, 409))
async def resume_key(request: AnyRequest, accounts: TheAccounts, key_id: FromPath[str]) -> ShownKey:
    """Every node takes it again within a second."""
    act = accounts.keys.resume_key(number_of(key_id, "key"), by=actor_of(request))
    return await _told(request, accounts, act, "key.resume")


@get("/keys/{key_id:str}/usage", summary="What a key's owner sees at /usage", responses=refusals(404))
async def get_key_usage(request: AnyRequest, accounts: TheAccounts, key_id: FromPath[str]) -> Usage:
    """This month."""
    key = await accounts.keys.find_key(number_of(key_id, "key"))
    note(request, "key.usage", key=key.id)
    return await accounts.usage.of(key)


ROUTES = [list_keys, create_key, get_key, update_key, rotate_key, revoke_key, pause_key, resume_key, get_key_usage]
