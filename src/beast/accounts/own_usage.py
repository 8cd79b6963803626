"""What a key's owner, and the operator, may see of its usage this month."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

import msgspec
import structlog

from beast.accounts.errors import TooManyError, UnknownAccountError
from beast.accounts.months import month_of
from beast.accounts.store import AccountStore, AssetCount, DayCount, LineUsage
from beast.accounts.types import Alert, ApiKey
from beast.base.clock import Clock
from beast.storage.database import Database

TOP: Final = 20
ALERTS_MAX: Final = 100
ASSETS_NS: Final = 60_000_000_000
"""How long a list of assets is told again: it takes a look at every record of the month."""
READ_MAX: Final = 4
"""Months read at once: owners who ask too often must not have all connections to the database."""
WAITING_MAX: Final = 256
ASSETS_S: Final = 2.0
"""How long that look may take."""
KEPT_MAX: Final = 1024

_log = structlog.get_logger("beast.accounts")


class Unbooked(Protocol):
    """What is needed of beast.usage.drainer.Drainer."""

    booking: asyncio.Lock
    """Held while answers are on their way into the rows."""

    def unbooked(self) -> Mapping[int, int]:
        """Answers by key id that no row holds; exact while `booking` is held."""


class Nothing:
    """That there is no server here, whose answers are on their way."""

    def __init__(self) -> None:
        self.booking = asyncio.Lock()

    def unbooked(self) -> Mapping[int, int]:
        """None."""
        return {}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The tier's; null: there is no limit."""

    monthly_queries: int | None
    per_second: int | None
    burst: int | None
    monthly_reports: int | None


class ReachedLevel(msgspec.Struct, frozen=True, kw_only=True):
    """A level of the cap that was reached this month."""

    percent: int
    used: int
    cap: int
    at: datetime


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One key's month, UTC. Rotated keys that are one line share it."""

    key_id: int
    prefix: str
    label: str
    tier: str
    limits: Limits
    month: str
    used: int
    """Prices answered, to the last one on this node, also what is not booked yet."""
    left: int | None
    """Null: there is no cap."""
    resets_at: datetime
    days: list[DayCount]
    """Booked answers; a day without any is left out."""
    assets: list[AssetCount] | None
    """The twenty asked for most; null: there was no time to count them."""
    assets_at: datetime | None
    """When they were counted."""
    alerts: list[ReachedLevel]


class OwnUsage:
    """Tells keys' usage.

    Args:
        database: An open database.
        clock: Says which month it is.
        unbooked: What this server has answered and the rows don't say yet.
    """

    def __init__(self, database: Database, clock: Clock, unbooked: Unbooked) -> None:
        self._store = AccountStore(database)
        self._clock = clock
        self._unbooked = unbooked
        self._assets: OrderedDict[tuple[int, date], tuple[int, datetime, list[AssetCount]]] = OrderedDict()
        self._counting = asyncio.Lock()
        self._free = asyncio.Semaphore(READ_MAX)
        self._asked = 0

    async def of(self, key: ApiKey) -> Usage:
        """The month of one key.

        Raises:
            UnknownAccountError: The key, or its tier, is gone.
            TooManyError: It can't be read now.
            DatabaseUnavailableError: The same.
        """
        if self._asked >= WAITING_MAX:
            raise TooManyError("the usage of too many keys is being read", todo="try again in a moment")
        self._asked += 1
        try:
            async with self._free:
                return await self._read(key)
        finally:
            self._asked -= 1

    async def _read(self, key: ApiKey) -> Usage:
        month = month_of(self._clock.wall_ns())
        begin = datetime.combine(month, time(), UTC)
        end = (begin + timedelta(days=32)).replace(day=1)
        tier = await self._store.find_tier(key.tier)
        async with self._unbooked.booking:
            line = await self._store.line_usage(key=key, month=month)
            waiting = self._unbooked.unbooked()
            used = (line.used or 0) + sum(waiting.get(each, 0) for each in line.ids or [])
        if tier is None or not line.ids:
            raise UnknownAccountError(f"there is no key {key.id}")
        cap = None if tier.partner else tier.monthly_queries
        alerts = await self._store.list_alerts(limit=ALERTS_MAX, key_id=key.quota_owner, month=month)
        assets = await self._top_assets(key.quota_owner, line, begin, end)
        return Usage(
            key_id=key.id,
            prefix=key.prefix,
            label=key.label,
            tier=key.tier,
            limits=Limits(
                monthly_queries=cap,
                per_second=None if tier.partner else tier.per_second,
                burst=None if tier.partner else tier.burst,
                monthly_reports=tier.monthly_reports,
            ),
            month=f"{month:%Y-%m}",
            used=used,
            left=None if cap is None else max(0, cap - used),
            resets_at=end,
            days=await self._store.usage_by_day(ids=line.ids, begin=begin, end=end),
            assets=None if assets is None else assets[2],
            assets_at=None if assets is None else assets[1],
            alerts=[_level(alert) for alert in alerts],
        )

    async def alerts(
        self, *, after: int = 0, limit: int = 100, key: ApiKey | None = None, month: date | None = None
    ) -> list[Alert]:
        """Events of caps, in the order in which they were stored.

        Args:
            after: Only those with larger ids.
            limit: As many at most.
            key: Only of this key's line.
            month: Only of this month, told by its first day.

        Raises:
            DatabaseUnavailableError: They can't be read now.
        """
        owner = None if key is None else key.quota_owner
        return await self._store.list_alerts(after=after, limit=limit, key_id=owner, month=month)

    async def _top_assets(
        self, owner: int, line: LineUsage, begin: datetime, end: datetime
    ) -> tuple[int, datetime, list[AssetCount]] | None:
        """What was counted within the last minute, else what is counted now, one key at a time."""
        which = (owner, begin.date())
        known = self._assets.get(which)
        now_ns = self._clock.monotonic_ns()
        if known is not None and now_ns - known[0] < ASSETS_NS:
            return known
        try:
            async with asyncio.timeout(ASSETS_S), self._counting:
                counted = await self._store.usage_by_asset(ids=line.ids, begin=begin, end=end, limit=TOP)
        except TimeoutError:
            _log.warning("the assets of a key could not be counted in time", key=owner, seconds=ASSETS_S)
            return known
        at = datetime.fromtimestamp(self._clock.wall_ns() // 1_000_000_000, UTC)
        self._assets[which] = known = (now_ns, at, counted)
        self._assets.move_to_end(which)
        while len(self._assets) > KEPT_MAX:
            self._assets.popitem(last=False)
        return known


def _level(alert: Alert) -> ReachedLevel:
    return ReachedLevel(percent=alert.percent, used=alert.used, cap=alert.cap, at=alert.at)
