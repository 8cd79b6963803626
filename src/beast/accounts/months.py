"""The calendar of quotas: months of UTC."""

from datetime import UTC, date, datetime


def utc(wall_ns: int) -> datetime:
    """The time of `wall_ns` (since 1970-01-01 UTC), to the microsecond."""
    seconds, ns = divmod(wall_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=ns // 1000)


def month_of(wall_ns: int) -> date:
    """The first day of the month that counts at `wall_ns`."""
    return utc(wall_ns).date().replace(day=1)


def month_number(month: date) -> int:
    """A number for a month, which only grows: months since the year 0."""
    return month.year * 12 + month.month - 1


def month_date(number: int) -> date:
    """The first day of the month of this number."""
    return date(number // 12, number % 12 + 1, 1)


def month_text(number: int) -> str:
    """The month of this number, as yyyymm."""
    return f"{number // 12:04d}{number % 12 + 1:02d}"


def month_end_ns(wall_ns: int) -> int:
    """When the month that counts at `wall_ns` is over."""
    number = month_number(month_of(wall_ns)) + 1
    return int(datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
