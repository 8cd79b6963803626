"""Tiers, for the operator."""

import msgspec
from litestar import get, put
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath

from beast.accounts.types import Tier, TierChanges
from beast.http.audit import actor_of, note
from beast.http.routes.accounts import AnyRequest, TheAccounts, refusals, taking
from beast.http.routes.exchanges import read_body


class AllTiers(msgspec.Struct, frozen=True):
    """All tiers."""

    tiers: list[Tier]


_NUMBER = Schema(type=[OpenAPIType.INTEGER, OpenAPIType.NULL], minimum=0)
_SWITCH = Schema(type=OpenAPIType.BOOLEAN)
_FIELDS = {
    **dict.fromkeys(("monthly_queries", "per_second", "burst", "monthly_reports"), _NUMBER),
    **dict.fromkeys(("unlimited_reports_addon", "partner"), _SWITCH),
}


@get("/tiers", summary="All tiers", responses=refusals())
async def list_tiers(request: AnyRequest, accounts: TheAccounts) -> AllTiers:
    """The smallest first; null in a limit means that there is none."""
    note(request, "tiers.list")
    return AllTiers(await accounts.tiers.list_all())


@get("/tiers/{tier:str}", summary="One tier", responses=refusals(404))
async def get_tier(request: AnyRequest, accounts: TheAccounts, tier: FromPath[str]) -> Tier:
    """Its limits."""
    note(request, "tier.show", tier=tier)
    return await accounts.tiers.find(tier)


@put("/tiers/{tier:str}", summary="Change a tier, or add one", operation_class=taking(_FIELDS), responses=refusals())
async def set_tier(request: AnyRequest, accounts: TheAccounts, tier: FromPath[str]) -> Tier:
    """What the body leaves out stays, or is no limit in a new tier. Its keys have the new limits within a second."""
    wanted = await read_body(request, TierChanges)
    changed = await accounts.tiers.set(tier, wanted, by=actor_of(request))
    note(request, "tier.set", tier=changed.tier)
    return changed


ROUTES = [list_tiers, get_tier, set_tier]
