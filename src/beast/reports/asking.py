"""Reads what is asked of the reports, and writes it again as the query of an address."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from beast.base.errors import UsageError
from beast.reports.types import (
    DIMENSIONS,
    GROUPINGS_MAX,
    Dimension,
    Filters,
    Grouping,
    Period,
    Place,
    RecordsQuery,
    ReportQuery,
)

DEFAULT_PERIOD = "30d"
DEFAULT_GROUPINGS = "day,asset,exchange,source,node,protocol,state,tier"
LONGEST = timedelta(days=400)
VALUES_MAX = 100
"""As many values of one dimension may be asked for."""
VALUE_MAX = 64
"""Characters of each."""
RECORDS_DEFAULT = 100
RECORDS_MAX = 1_000_000
"""Records in one page: it is streamed."""
ID_MAX = 2**63 - 1

FILTERS = ("asset", "exchange", "source", "node", "protocol", "state", "tier", "key")
KNOWN = {
    "report": frozenset({"period", "from", "to", "group", "format", *FILTERS}),
    "records": frozenset({"period", "from", "to", "after", "limit", "format", *FILTERS}),
}
PERIODS = "today, yesterday, 7d, 30d, month, a month like 2026-11 or a day like 2026-11-26"

_FOLDED = {"asset": str.upper, "exchange": str.lower, "source": str.lower, "protocol": str.lower, "state": str.lower}
_CLOSED = {"protocol": ("udp", "http"), "state": ("live", "quiet", "stale"), "tier": ("1", "2", "3")}
_DAYS = re.compile(r"([1-9][0-9]{0,2})d", re.ASCII)
_MONTH = re.compile(r"(20[0-9]{2}|21[0-8][0-9])-(0[1-9]|1[0-2])", re.ASCII)
_DAY = re.compile(r"(20[0-9]{2}|21[0-8][0-9])-[0-9]{2}-[0-9]{2}", re.ASCII)


def read_pairs(pairs: Iterable[tuple[str, str]], kind: str) -> dict[str, str]:
    """The parameters by name; `status` is another word for `state`. A wrong name would give a wrong number.

    Args:
        pairs: Names and values as they were sent.
        kind: `report` or `records`.

    Raises:
        UsageError: one is unknown, or stands there twice.
    """
    given: dict[str, str] = {}
    for sent, value in pairs:
        name = "state" if sent == "status" else sent
        if name not in KNOWN[kind]:
            raise UsageError(f"unknown parameter {sent[:VALUE_MAX]!r}", todo=f"known: {', '.join(sorted(KNOWN[kind]))}")
        if name in given:
            raise UsageError(f"{name} is given twice", todo="join several values with commas")
        given[name] = value
    return given


def read_report(given: Mapping[str, str], *, now: datetime, visible: tuple[int, ...] | None) -> ReportQuery:
    """One report.

    Args:
        given: Its parameters, see read_pairs().
        now: The time, UTC.
        visible: API keys that the asker may see; None: all.

    Raises:
        UsageError: a value can't be used.
    """
    return ReportQuery(
        period=read_period(given, now),
        filters=read_filters(given, visible),
        groupings=read_groupings(given.get("group") or DEFAULT_GROUPINGS),
        visible=visible,
    )


def read_records(given: Mapping[str, str], *, now: datetime, visible: tuple[int, ...] | None) -> RecordsQuery:
    """One page of records. The same arguments and errors as read_report()."""
    text = given.get("limit", str(RECORDS_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(RECORDS_MAX)) and 1 <= int(text) <= RECORDS_MAX):
        raise UsageError(f"limit = {text[:VALUE_MAX]!r} is not allowed", todo=f"allowed: 1 to {RECORDS_MAX:,}")
    return RecordsQuery(
        period=read_period(given, now),
        filters=read_filters(given, visible),
        visible=visible,
        after=read_place(given["after"]) if given.get("after") else None,
        limit=int(text),
    )


def read_period(given: Mapping[str, str], now: datetime) -> Period:
    """`from` and `to`, or `period`, or the last 30 days; what goes on ends now.

    Raises:
        UsageError: it is none, ends before it begins, or is longer than 400 days.
    """
    if "from" in given or "to" in given:
        if "period" in given:
            raise UsageError("period stands beside from and to", todo="give one or the other")
        if "from" not in given:
            raise UsageError("to stands there without from", todo="give both, or a period")
        since = read_time(given["from"], "from")
        period = Period(since, read_time(given["to"], "to") if "to" in given else now)
    else:
        period = _named(given.get("period", DEFAULT_PERIOD), now)
    if period.since >= period.until:
        raise UsageError(f"the period ends at {stamp(period.until)}, not after it begins", todo="give a later end")
    if period.until - period.since > LONGEST:
        raise UsageError("the period is too long", todo=f"at most {LONGEST.days} days")
    return period


def _named(name: str, now: datetime) -> Period:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if name == "today":
        # In the first microsecond of a day there would be no time between.
        return Period(midnight, max(now, midnight + timedelta(microseconds=1)), name)
    if name == "yesterday":
        return Period(midnight - timedelta(days=1), midnight, name)
    if name == "month":
        first = midnight.replace(day=1)
        return Period(first, max(now, first + timedelta(microseconds=1)), name)
    if match := _DAYS.fullmatch(name):
        return Period(now - timedelta(days=int(match[1])), now, name)
    if match := _MONTH.fullmatch(name):
        first = datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC)
        return Period(first, (first + timedelta(days=32)).replace(day=1), name)
    if _DAY.fullmatch(name):
        first = read_time(name, "period")
        return Period(first, first + timedelta(days=1), name)
    raise UsageError(f"period = {name[:VALUE_MAX]!r} is none", todo=f"one of {PERIODS}")


def read_time(text: str, name: str) -> datetime:
    """A day, which begins at midnight UTC, or a time of RFC 3339.

    Raises:
        UsageError: it is neither.
    """
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        # In an address a plus sign that nobody has escaped is a space.
        moment = msgspec.convert(text.replace(" ", "+") if "T" in text else text, datetime)
        if moment.tzinfo is None:
            raise UsageError(f"{name} = {text[:VALUE_MAX]!r} has no time zone", todo="append Z")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        todo = "a day like 2026-11-26, or a time like 2026-11-26T12:00:00Z"
        raise UsageError(f"{name} = {text[:VALUE_MAX]!r} is no time", todo=todo) from None
    return moment


def read_groupings(text: str) -> tuple[Grouping, ...]:
    """`asset,day/asset`: the groupings, each of one dimension or of two.

    Raises:
        UsageError: there are too many, one stands there twice, or one is none.
    """
    found: list[Grouping] = []
    for word in text.split(","):
        names = ["state" if name == "status" else name for name in word.strip().lower().split("/")]
        if not 1 <= len(names) <= 2 or len(set(names)) < len(names) or not set(names) <= set(DIMENSIONS):  # noqa: PLR2004
            todo = f"one of {', '.join(DIMENSIONS)}, or two with a slash between"
            raise UsageError(f"group = {word[:VALUE_MAX]!r} is not allowed", todo=todo)
        grouping: Grouping = tuple(dimension(name) for name in names)
        if grouping in found:
            raise UsageError(f"group names {word} twice", todo="name it once")
        found.append(grouping)
    if len(found) > GROUPINGS_MAX:
        raise UsageError(f"{len(found)} groupings are too many", todo=f"at most {GROUPINGS_MAX}")
    return tuple(found)


def dimension(name: str) -> Dimension:
    """The name, for the type checker too."""
    return next(known for known in DIMENSIONS if known == name)


def read_filters(given: Mapping[str, str], visible: tuple[int, ...] | None) -> Filters:
    """The values wanted of each dimension, several joined by commas.

    Raises:
        UsageError: one can't be meant, or is a key that the asker may not see.
    """
    found: dict[str, Any] = {}
    for name in FILTERS:
        if name not in given:
            continue
        values = tuple(dict.fromkeys(_FOLDED.get(name, str)(value.strip()) for value in given[name].split(",")))
        if len(values) > VALUES_MAX:
            raise UsageError(f"{name} has too many values", todo=f"at most {VALUES_MAX}")
        for value in values:
            _check_value(name, value)
        found[name] = tuple(int(value) for value in values) if name in {"tier", "key"} else values
    filters = Filters(**found)
    if visible is not None and (foreign := set(filters.key) - set(visible)):
        raise UsageError(f"key {min(foreign)} is not yours", todo="leave key out to see all of yours")
    return filters


def _check_value(name: str, value: str) -> None:
    allowed = ", ".join(_CLOSED[name]) if name in _CLOSED else f"1 to {VALUE_MAX} printable characters"
    good = value in _CLOSED[name] if name in _CLOSED else 0 < len(value) <= VALUE_MAX and value.isprintable()
    if name == "key":
        allowed = "ids of API keys"
        good = value.isascii() and value.isdigit() and len(value) < len(str(ID_MAX)) and int(value) > 0
    if not good:
        raise UsageError(f"{name} = {value[:VALUE_MAX]!r} is not allowed", todo=f"allowed: {allowed}")


def stamp(moment: datetime) -> str:
    """A time as RFC 3339 in UTC, without a fraction where there is none."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def write_place(place: Place) -> str:
    """A place as the value of `after`."""
    return f"{stamp(place.at)}~{place.node}~{place.boot}~{place.lane}~{place.sequence}"


def read_place(text: str) -> Place:
    """The place that write_place() wrote.

    Raises:
        UsageError: it didn't.
    """
    at, _, rest = text.partition("~")
    node, *numbers = rest.rsplit("~", 3)
    try:
        boot, lane, sequence = (int(number) for number in numbers)
        place = Place(read_time(at, "after"), node, boot, lane, sequence)
    except ValueError:
        place = None
    if place is None or write_place(place) != text or not (0 <= place.lane < 1 << 15 and node.isprintable()):
        raise UsageError("after is no place among the records", todo="take it from the page before, unchanged")
    if not all(0 <= number <= ID_MAX for number in (place.boot, place.sequence)):
        raise UsageError("after is no place among the records", todo="take it from the page before, unchanged")
    return place


def write_query(query: ReportQuery | RecordsQuery) -> str:
    """What was asked, as the query of an address; a period by its two ends, so that it means the same tomorrow."""
    pairs = {"from": stamp(query.period.since), "to": stamp(query.period.until), **filter_pairs(query.filters)}
    if isinstance(query, ReportQuery):
        pairs["group"] = ",".join("/".join(grouping) for grouping in query.groupings)
    elif query.after is not None:
        pairs["after"] = write_place(query.after)
    return urlencode(pairs, safe=":,/~")


def filter_pairs(filters: Filters) -> dict[str, str]:
    """The filters that are there, as parameters."""
    wanted = msgspec.structs.asdict(filters)
    return {name: ",".join(str(value) for value in values) for name, values in wanted.items() if values}
