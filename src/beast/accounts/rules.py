"""What users, keys and tiers may be: checks of single values, which need no database."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from beast.accounts.types import NETWORKS_MAX, SCOPES, Scope, Tier
from beast.base.errors import UsageError

TEXT_MAX: Final = 200
EMAIL_MAX: Final = 254
LATEST_EXPIRY: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""The table takes none later: as nanoseconds it must fit into 64 bits."""
GRACE_MAX: Final = timedelta(days=90)
COUNT_MAX: Final = 2**53 - 1
"""More than anybody asks for, and still exact in every reader of JSON."""
RATE_MAX: Final = 1_000_000

ID_MAX: Final = 2**63 - 1
ID_DIGITS: Final = len(str(ID_MAX))

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z]{2})?")
_TIER = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MAPPED = IPv6Network("::ffff:0:0/96")


def as_id(text: str) -> int | None:
    """A row's number, if it can be one."""
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS):
        return None
    number = int(text)
    return number if number <= ID_MAX else None


def checked_label(label: str) -> str:
    """A label or a name of a person.

    Raises:
        UsageError: It is too long, or not printable.
    """
    if len(label) > TEXT_MAX or not label.isprintable():
        raise UsageError("the label can't be stored", todo=f"at most {TEXT_MAX} printable characters")
    return label


def checked_email(email: str) -> str:
    """An address in lower case.

    Raises:
        UsageError: It is none.
    """
    email = email.strip().lower()
    if len(email) > EMAIL_MAX or not email.isprintable() or not _EMAIL.fullmatch(email):
        raise UsageError(f"{email[:EMAIL_MAX]!r} is no email address", todo="someone@example.org")
    return email


def checked_language(language: str) -> str:
    """A language as mail is written in.

    Raises:
        UsageError: It is none.
    """
    if not _LANGUAGE.fullmatch(language):
        raise UsageError(f"{language[:TEXT_MAX]!r} is no language", todo="such as en, de or pt-BR")
    return language


def checked_scopes(scopes: Iterable[str]) -> list[Scope]:
    """Scopes in their own order, each once.

    Raises:
        UsageError: One is unknown, or there is none.
    """
    asked = set(scopes)
    unknown = sorted(asked.difference(SCOPES))
    if unknown or not asked:
        what = f"there is no scope {unknown[0][:TEXT_MAX]!r}" if unknown else "a key needs a scope"
        raise UsageError(what, todo=f"some of {', '.join(SCOPES)}")
    return [scope for scope in SCOPES if scope in asked]


def checked_networks(networks: Iterable[str]) -> list[str]:
    """Networks as PostgreSQL writes them, each once. IPv4 that is written as IPv6 is IPv4.

    Raises:
        UsageError: One is no network, or there are too many.
    """
    checked = []
    for text in networks:
        try:
            network = ip_network(text.strip())
            if isinstance(network, IPv6Network) and network.network_address.scope_id:
                raise ValueError("the name of an interface means nothing elsewhere")
        except ValueError:
            raise UsageError(
                f"{text[:TEXT_MAX]!r} is no network", todo="such as 192.0.2.0/24, 192.0.2.7 or 2001:db8::/32"
            ) from None
        checked.append(str(_plain(network)))
    kept = list(dict.fromkeys(checked))
    if len(kept) > NETWORKS_MAX:
        raise UsageError(f"{len(kept)} networks are too many", todo=f"at most {NETWORKS_MAX}; join neighbours")
    return kept


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((network.network_address.packed[-4:], network.prefixlen - _MAPPED.prefixlen))
    return network


def checked_expiry(at: datetime, now: datetime) -> datetime:
    """A time at which a key ends.

    Raises:
        UsageError: It has no time zone, is over, or is too late for the table.
    """
    if at.tzinfo is None:
        raise UsageError(f"{at.isoformat()} has no time zone", todo="append Z or an offset such as +01:00")
    if at <= now:
        raise UsageError(f"the key would have expired at {at}", todo="give a later time")
    if at > LATEST_EXPIRY:
        raise UsageError(f"the key would expire at {at}", todo=f"at the latest at {LATEST_EXPIRY}")
    return at


def checked_grace(grace: timedelta) -> timedelta:
    """How long a rotated key goes on.

    Raises:
        UsageError: It is negative, or too long.
    """
    if not timedelta() <= grace <= GRACE_MAX:
        raise UsageError(f"a grace of {grace} is not allowed", todo=f"none to {GRACE_MAX.days} days")
    return grace


def checked_tier(tier: Tier) -> Tier:
    """A tier as a whole.

    Raises:
        UsageError: A value is not allowed, or they don't fit together.
    """
    where = f"tier {tier.tier[:TEXT_MAX]!r}"
    if not _TIER.fullmatch(tier.tier):
        raise UsageError("is no name", where=where, todo="small letters, digits, - and _; at most 32")
    for name, lowest, highest in (
        ("monthly_queries", 0, COUNT_MAX),
        ("per_second", 1, RATE_MAX),
        ("burst", 1, RATE_MAX),
        ("monthly_reports", 0, 2**31 - 1),
    ):
        value = getattr(tier, name)
        if value is not None and not lowest <= value <= highest:
            raise UsageError(f"{name} = {value} is not allowed", where=where, todo=f"{lowest} to {highest}, or none")
    if (tier.per_second is None) != (tier.burst is None):
        raise UsageError("per_second and burst are given together, or neither", where=where)
    limits = (tier.monthly_queries, tier.per_second, tier.burst, tier.monthly_reports)
    if tier.partner and any(limit is not None for limit in limits):
        raise UsageError("a partner's tier has no limits", where=where, todo="give none, or partner = false")
    return tier
