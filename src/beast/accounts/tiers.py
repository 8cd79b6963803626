"""The rules of tiers. All changes of them come through here."""

import msgspec

from beast.accounts.audit import SYSTEM, Actor
from beast.accounts.changes import change
from beast.accounts.errors import UnknownAccountError
from beast.accounts.months import utc
from beast.accounts.rules import checked_tier
from beast.accounts.store import AccountStore
from beast.accounts.types import Tier, TierChanges, given
from beast.base.clock import Clock
from beast.storage.database import Database

NEW = Tier(
    tier="",
    monthly_queries=None,
    per_second=None,
    burst=None,
    monthly_reports=None,
    unlimited_reports_addon=False,
    partner=False,
)


class Tiers:
    """What keys may use.

    Args:
        database: An open database.
        clock: Its wall clock says when something was done.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._store = AccountStore(database)
        self._clock = clock

    async def list_all(self) -> list[Tier]:
        """All tiers, the smallest first."""
        return await self._store.list_tiers()

    async def find(self, tier: str) -> Tier:
        """One tier.

        Raises:
            UnknownAccountError: There is none.
        """
        found = None if "\0" in tier else await self._store.find_tier(tier)
        if found is None:
            raise UnknownAccountError(f"there is no tier {tier!r}", todo="`beast tiers list` shows them")
        return found

    async def set(self, tier: str, changes: TierChanges, *, by: Actor = SYSTEM) -> Tier:
        """Changes a tier, or adds one. All of its keys have the new limits within a second.

        Raises:
            UsageError: A value is not allowed, or they don't fit together.
        """
        checked_tier(msgspec.structs.replace(NEW, tier=tier))
        async with change(self._database, by, utc(self._clock.wall_ns())) as transaction:
            before = await transaction.lock_tier(tier)
            after = msgspec.structs.replace(before or NEW, **{"tier": tier, **given(changes)})
            return await transaction.set_tier(before, checked_tier(after))
