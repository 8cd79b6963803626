"""The calendar of quotas: months of UTC."""

from datetime import UTC, date, datetime


def utc(wall_ns: int) -> datetime:
    """The time of `wall_ns` (since 1970-01-01 UTC), to the microsecond."""
    seconds, ns = divmod(wall_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=ns // 1000)


def month_of(wall_ns: int) -> date:
    """The first day of the month that counts at `wall_ns`."""
    return utc(wall_ns).date().replace(day=1)
