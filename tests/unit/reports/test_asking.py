from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.base.errors import UsageError
from beast.reports.asking import (
    read_groupings,
    read_pairs,
    read_period,
    read_place,
    read_records,
    read_report,
    write_place,
    write_query,
)
from beast.reports.lines import records_of
from beast.reports.types import Filters, Period, Place

NOW = datetime(2026, 11, 26, 17, 30, 5, 123456, tzinfo=UTC)
NODES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "since", "until"),
    [
        ({"period": "today"}, day("2026-11-26"), NOW),
        ({"period": "yesterday"}, day("2026-11-25"), day("2026-11-26")),
        ({"period": "7d"}, NOW - timedelta(days=7), NOW),
        ({}, NOW - timedelta(days=30), NOW),
        ({"period": "month"}, day("2026-11-01"), NOW),
        ({"period": "2026-02"}, day("2026-02-01"), day("2026-03-01")),
        ({"period": "2025-12"}, day("2025-12-01"), day("2026-01-01")),
        ({"period": "2026-11-24"}, day("2026-11-24"), day("2026-11-25")),
        ({"from": "2026-11-01"}, day("2026-11-01"), NOW),
        ({"from": "2026-11-01", "to": "2026-11-02"}, day("2026-11-01"), day("2026-11-02")),
        ({"from": "2026-11-01T02:00:00+02:00", "to": "2026-11-01T00:00:00.5Z"}, day("2026-11-01"), None),
        ({"from": "2026-11-01T02:00:00 02:00"}, day("2026-11-01"), NOW),
    ],
)
def test_periods(given: dict[str, str], since: datetime, until: datetime | None) -> None:
    period = read_period(given, NOW)
    assert period.since == since
    assert until is None or period.until == until


@pytest.mark.parametrize(
    "given",
    [
        {"period": "soon"},
        {"period": "0d"},
        {"period": "2026-13"},
        {"period": "2026-02-30"},
        {"period": "401d"},
        {"period": "7d", "from": "2026-11-01"},
        {"to": "2026-11-01"},
        {"from": "2026-11-02", "to": "2026-11-02"},
        {"from": "2026-11-27"},
        {"from": "2026-11-01T00:00:00"},
        {"from": "yesterday"},
        {"from": "2024-01-01", "to": "2026-01-01"},
        {"period": "\u0667d"},
    ],
)
def test_a_period_that_is_none_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        read_period(given, NOW)


def test_the_first_moment_of_a_day_and_a_month_has_a_period() -> None:
    midnight = day("2026-11-01")
    for name in ("today", "month"):
        period = read_period({"period": name}, midnight)
        assert period.until - period.since == timedelta(microseconds=1)


def test_a_wrong_name_is_told_instead_of_giving_a_wrong_number() -> None:
    with pytest.raises(UsageError, match="unknown parameter 'aset'"):
        read_pairs([("aset", "BTC")], "report")
    with pytest.raises(UsageError, match="given twice"):
        read_pairs([("status", "live"), ("state", "quiet")], "report")
    with pytest.raises(UsageError, match="unknown parameter 'group'"):
        read_pairs([("group", "day")], "records")
    assert read_pairs([("status", "live")], "records") == {"state": "live"}


def test_filters_are_folded_as_the_records_are_written() -> None:
    given = {"asset": "btc, eth,btc", "exchange": "OKX", "node": "BeastMain", "tier": "1,3", "state": "LIVE"}
    filters = read_report(given, now=NOW, visible=None).filters
    assert filters == Filters(
        asset=("BTC", "ETH"), exchange=("okx",), node=("BeastMain",), tier=(1, 3), state=("live",)
    )


@pytest.mark.parametrize(
    "given",
    [
        {"asset": ""},
        {"asset": "BTC,"},
        {"asset": "x" * 65},
        {"asset": ",".join(f"A{n}" for n in range(101))},
        {"tier": "4"},
        {"tier": "one"},
        {"protocol": "tcp"},
        {"state": "dead"},
        {"key": "-1"},
        {"key": "0"},
        {"key": "9" * 20},
        {"node": "a\nb"},
    ],
)
def test_a_filter_that_can_mean_nothing_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        read_report(given, now=NOW, visible=None)


def test_an_owner_sees_its_own_keys_only() -> None:
    assert read_report({"key": "7"}, now=NOW, visible=(5, 7)).filters.key == (7,)
    with pytest.raises(UsageError, match="key 8 is not yours"):
        read_report({"key": "7,8"}, now=NOW, visible=(5, 7))


def test_groupings() -> None:
    assert read_groupings("asset, day/Status") == (("asset",), ("day", "state"))
    for wrong in ("", "price", "asset/day/hour", "asset/asset", "asset,asset", "state,status"):
        with pytest.raises(UsageError):
            read_groupings(wrong)


@pytest.mark.parametrize("limit", ["0", "1000001", "x", "-1", ""])
def test_a_page_has_a_size(limit: str) -> None:
    with pytest.raises(UsageError, match="limit"):
        read_records({"limit": limit}, now=NOW, visible=None)


@given(
    place=st.builds(
        Place,
        at=MOMENTS,
        node=NODES,
        boot=st.integers(0, 2**63 - 1),
        lane=st.integers(0, 2**15 - 1),
        sequence=st.integers(0, 2**63 - 1),
    )
)
def test_a_place_comes_back_as_it_went(place: Place) -> None:
    assert read_place(write_place(place)) == place


@given(text=st.text(max_size=80) | NODES.map(lambda node: f"2026-11-01T00:00:00Z~{node}~1~2"))
def test_what_is_no_place_is_refused(text: str) -> None:
    try:
        place = read_place(text)
    except UsageError:
        return
    assert write_place(place) == text


@given(
    period=st.tuples(MOMENTS, st.integers(1, 10**12)).map(
        lambda pair: Period(pair[0], pair[0] + timedelta(microseconds=pair[1]))
    ),
    node=NODES,
    tier=st.integers(1, 3),
)
def test_the_address_of_records_means_what_it_was_made_of(period: Period, node: str, tier: int) -> None:
    address = urlsplit(
        records_of(period, Filters(asset=("BTC", "ETH")), {"node": node, "tier": tier}, "/report/records")
    )
    given = read_pairs(parse_qsl(address.query, strict_parsing=True), "records")
    query = read_records(given, now=NOW, visible=None)
    assert (query.period.since, query.period.until) == (period.since, period.until)
    assert query.filters == Filters(asset=("BTC", "ETH"), node=(node,), tier=(tier,))


def test_a_day_s_records_end_where_the_report_does() -> None:
    period = Period(day("2026-11-25") + timedelta(hours=12), NOW)
    first = records_of(period, Filters(), {"day": "2026-11-25"}, "/r")
    last = records_of(period, Filters(), {"hour": "2026-11-26T17:00Z"}, "/r")
    assert first == "/r?from=2026-11-25T12:00:00Z&to=2026-11-26T00:00:00Z"
    assert last == "/r?from=2026-11-26T17:00:00Z&to=2026-11-26T17:30:05.123456Z"


def test_a_query_is_written_so_that_it_means_the_same_tomorrow() -> None:
    query = read_report({"period": "yesterday", "group": "day/asset", "asset": "btc"}, now=NOW, visible=None)
    text = write_query(query)
    assert text == "from=2026-11-25T00:00:00Z&to=2026-11-26T00:00:00Z&asset=BTC&group=day/asset"
    again = read_report(dict(parse_qsl(text)), now=NOW + timedelta(days=1), visible=None)
    assert (again.period.since, again.groupings) == (query.period.since, query.groupings)
