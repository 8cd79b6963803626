from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.accounts.rules import (
    GRACE_MAX,
    as_id,
    checked_email,
    checked_expiry,
    checked_grace,
    checked_label,
    checked_language,
    checked_networks,
    checked_scopes,
    checked_tier,
)
from beast.accounts.types import SCOPES, Tier
from beast.base.errors import UsageError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TIER = Tier(
    tier="gold",
    monthly_queries=10,
    per_second=1,
    burst=2,
    monthly_reports=0,
    unlimited_reports_addon=True,
    partner=False,
)


@given(st.lists(st.sampled_from(SCOPES), min_size=1))
def test_scopes_come_once_and_in_one_order(scopes: list[str]) -> None:
    checked = checked_scopes(scopes)
    assert set(checked) == set(scopes)
    assert checked == sorted(checked, key=SCOPES.index)
    assert checked_scopes(reversed(checked)) == checked


@pytest.mark.parametrize("scopes", [[], ["price", "Price"], ["everything"], [""]])
def test_other_scopes_are_refused(scopes: list[str]) -> None:
    with pytest.raises(UsageError, match="price, report, push, admin"):
        checked_scopes(scopes)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        (" 192.0.2.0/24 ", "192.0.2.0/24"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_networks_are_written_in_one_way(text: str, stored: str) -> None:
    assert checked_networks([text]) == [stored]


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1/24", "192.0.2", "example.org", "1.2.3.4/33", "fe80::1%eth0", "\0", "٣.0.0.0"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no network"):
        checked_networks([text])


def test_sixteen_networks_are_enough() -> None:
    networks = [f"10.0.{n}.0/24" for n in range(16)]
    assert checked_networks([*networks, *networks]) == networks
    with pytest.raises(UsageError, match="17 networks are too many"):
        checked_networks([*networks, "10.1.0.0/24"])


@pytest.mark.parametrize("text", ["7", "0", "007", "9223372036854775807"])
def test_numbers_of_rows(text: str) -> None:
    assert as_id(text) == int(text)


@pytest.mark.parametrize("text", ["", "-1", "1.0", "9223372036854775808", "9" * 5000, "²", "٣", " 1"])
def test_other_texts_are_no_numbers_of_rows(text: str) -> None:
    assert as_id(text) is None


def test_addresses_are_kept_in_small_letters() -> None:
    assert checked_email(" Ada@Example.ORG ") == "ada@example.org"


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@x", "a@b@c", "a b@c.de", "a@b\0.de", "a" * 250 + "@x.de", "a\n@b.c"]
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(UsageError, match="is no email address"):
        checked_email(email)


def test_languages() -> None:
    assert [checked_language(text) for text in ("en", "pt-BR", "fil")] == ["en", "pt-BR", "fil"]
    for text in ("", "EN", "english", "en_US", "en\n"):
        with pytest.raises(UsageError, match="is no language"):
            checked_language(text)


def test_labels_are_printable_and_short() -> None:
    assert checked_label("x" * 200) == "x" * 200
    for text in ("x" * 201, "\0", "a\nb", "\ud800"):
        with pytest.raises(UsageError, match="label"):
            checked_label(text)


def test_a_grace_is_at_most_ninety_days() -> None:
    assert [checked_grace(grace) for grace in (timedelta(), GRACE_MAX)] == [timedelta(), GRACE_MAX]
    for grace in (timedelta(microseconds=-1), GRACE_MAX + timedelta(microseconds=1), timedelta.max):
        with pytest.raises(UsageError, match="grace"):
            checked_grace(grace)


def test_an_expiry_lies_ahead() -> None:
    assert checked_expiry(NOW + timedelta(microseconds=1), NOW) > NOW
    with pytest.raises(UsageError, match="expired"):
        checked_expiry(NOW, NOW)


def test_a_good_tier_stays_as_it_is() -> None:
    assert checked_tier(TIER) is TIER


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tier": "Gold"}, "is no name"),
        ({"tier": "x" * 33}, "is no name"),
        ({"monthly_queries": -1}, "monthly_queries"),
        ({"monthly_queries": 2**53}, "monthly_queries"),
        ({"per_second": 0}, "per_second"),
        ({"burst": 1_000_001}, "burst"),
        ({"monthly_reports": 2**31}, "monthly_reports"),
        ({"per_second": None}, "together"),
        ({"burst": None}, "together"),
        ({"partner": True}, "partner"),
    ],
)
def test_a_bad_tier_is_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        checked_tier(msgspec.structs.replace(TIER, **change))
