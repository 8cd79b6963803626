"""How many reports a customer may make: ten a month, or as its tier says, or without end."""

from datetime import UTC, datetime

from beast.accounts.months import utc
from beast.base.clock import Clock
from beast.reports.store import Counted, ReportStore
from beast.reports.types import Allowance, ReportKey


class LimitReachedError(Exception):
    """The month's reports are made; nothing was counted."""

    def __init__(self, allowance: Allowance, now: datetime) -> None:
        super().__init__(f"the {allowance.allowed} reports of this month are made")
        self.allowance = allowance
        self.now = now


class Ticket:
    """One report that is counted; it can be given back until it is made."""

    def __init__(self, store: ReportStore, owner: int, at: datetime, allowance: Allowance) -> None:
        self.allowance = allowance
        """With this one counted."""
        self._store = store
        self._owner = owner
        self._at = at

    async def give_back(self) -> None:
        """The report came to nothing: it doesn't count."""
        day = self._at.date()
        await self._store.give_back(self._owner, month=day.replace(day=1), day=day)


class Limiter:
    """Counts in one statement each, so that any number of nodes and requests at once can't make one too many.

    Args:
        store: Where the counts are.
        clock: Its wall clock says which month and day it is, in UTC.
    """

    def __init__(self, store: ReportStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def check(self, key: ReportKey) -> Allowance:
        """What this customer has made and may make. Counts nothing."""
        now = utc(self._clock.wall_ns())
        counted = await self._store.check(key, month=now.date().replace(day=1), day=now.date())
        return _allowance(counted, now)

    async def expect(self, key: ReportKey) -> Allowance:
        """The same, for who is about to make one: a refusal that writes nothing and locks nothing.

        Raises:
            LimitReachedError: there may be no further one this month.
        """
        allowance = await self.check(key)
        if allowance.allowed is not None and allowance.in_month >= allowance.allowed:
            raise LimitReachedError(allowance, utc(self._clock.wall_ns()))
        return allowance

    async def take(self, key: ReportKey) -> Ticket:
        """Counts one report.

        Raises:
            LimitReachedError: there may be no further one this month.
        """
        now = utc(self._clock.wall_ns())
        counted = await self._store.count(key, month=now.date().replace(day=1), day=now.date(), now=now)
        if counted is None:
            raise LimitReachedError(await self.check(key), now)
        return Ticket(self._store, key.owner, now, _allowance(counted, now))


def next_month(now: datetime) -> datetime:
    """When the month that counts at `now` is over."""
    year, month = divmod(now.year * 12 + now.month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def _allowance(counted: Counted, now: datetime) -> Allowance:
    return Allowance(
        allowed=counted.allowed, in_month=counted.in_month, in_day=counted.in_day, resets_at=next_month(now)
    )
