"""What the accounts room knows of a key."""

from datetime import date, datetime

import msgspec


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `api_keys`, as it may be shown."""

    id: int
    prefix: str
    """The first characters of the key, for people."""
    tier: str
    label: str
    enabled: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    current_usage: int
    """Prices answered in `usage_month`."""
    usage_month: date
    user_id: int | None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key just made. This is the only time that its text is known."""

    api_key: str
    id: int
    tier: str
    label: str
    expires_at: datetime | None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `rate_limit_template`; None means that there is no limit."""

    tier: str
    monthly_queries: int | None
    per_second: int | None
    burst: int | None
    monthly_reports: int | None
    unlimited_reports_addon: bool
    partner: bool
