"""What the accounts room knows of users, keys and tiers."""

from datetime import date, datetime
from typing import Literal

import msgspec

Scope = Literal["price", "report", "push", "admin"]
SCOPES: tuple[Scope, ...] = ("price", "report", "push", "admin")
DEFAULT_SCOPES: tuple[Scope, ...] = ("price", "report")
NETWORKS_MAX = 16
State = Literal["active", "rotated", "paused", "expired", "revoked", "disabled"]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `users`."""

    id: int
    email: str
    name: str
    preferred_lang: str
    created_at: datetime
    updated_at: datetime
    keys: int
    """How many keys are theirs, whatever their state."""


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
    paused_at: datetime | None
    last_used_at: datetime | None
    current_usage: int
    """Prices answered in `usage_month`, to this key alone."""
    usage_month: date
    user_id: int | None
    scopes: list[Scope]
    networks: list[str]
    """The only networks that it may be used from; empty: any."""
    successor_id: int | None
    """The key that this one was rotated to."""
    quota_key_id: int | None
    """The first key of its line of rotated keys; None when it was never rotated."""

    @property
    def quota_owner(self) -> int:
        """The id that limits, cap and alerts belong to."""
        return self.id if self.quota_key_id is None else self.quota_key_id

    def state_at(self, now: datetime) -> State:
        """What it is at `now`: only `active` and `rotated` (in its time of grace) open anything."""
        if not self.enabled:
            return "revoked" if self.revoked_at else "disabled"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        if self.paused_at is not None:
            return "paused"
        return "active" if self.successor_id is None else "rotated"


class ShownKey(ApiKey, frozen=True, kw_only=True):
    """A key with what it is at the moment that it is shown."""

    state: State


def shown(key: ApiKey, now: datetime) -> ShownKey:
    """A key as it is at `now`."""
    return ShownKey(**msgspec.structs.asdict(key), state=key.state_at(now))


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key just made. This is the only time that its text is known."""

    api_key: str
    id: int
    prefix: str
    """How it begins, which goes on being shown."""
    tier: str
    label: str
    expires_at: datetime | None
    scopes: list[Scope]
    networks: list[str]
    user_id: int | None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `rate_limit_template`; None means that there is no limit."""

    tier: str
    monthly_queries: int | None
    per_second: int | None
    burst: int | None
    monthly_reports: int | None
    unlimited_reports_addon: bool
    partner: bool


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A cap reached a level: once for each month."""

    id: int
    key_id: int
    """The owner of the quota: the first key of its line."""
    month: date
    percent: int
    used: int
    """Prices answered in the month by then."""
    cap: int
    at: datetime


class KeyChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a key; what is left out stays."""

    tier: str | msgspec.UnsetType = msgspec.UNSET
    """Of its whole line of rotated keys."""
    label: str | msgspec.UnsetType = msgspec.UNSET
    expires_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    user_id: int | msgspec.UnsetType | None = msgspec.UNSET
    scopes: list[str] | msgspec.UnsetType = msgspec.UNSET
    networks: list[str] | msgspec.UnsetType = msgspec.UNSET


class UserChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a user; what is left out stays."""

    email: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType = msgspec.UNSET
    preferred_lang: str | msgspec.UnsetType = msgspec.UNSET


class TierChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of a tier; what is left out stays, or is none in a new one. None: there is no limit."""

    monthly_queries: int | msgspec.UnsetType | None = msgspec.UNSET
    per_second: int | msgspec.UnsetType | None = msgspec.UNSET
    burst: int | msgspec.UnsetType | None = msgspec.UNSET
    monthly_reports: int | msgspec.UnsetType | None = msgspec.UNSET
    unlimited_reports_addon: bool | msgspec.UnsetType = msgspec.UNSET
    partner: bool | msgspec.UnsetType = msgspec.UNSET


def given(changes: msgspec.Struct) -> dict[str, object]:
    """The members that were not left out."""
    return {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not msgspec.UNSET}
