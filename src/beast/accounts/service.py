"""The rules of API keys: how they are made, found, changed and charged. All changes of keys come through here."""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from beast.accounts.audit import SYSTEM, Actor
from beast.accounts.changes import Change, KeyToStore, change
from beast.accounts.errors import ConflictError, UnknownAccountError
from beast.accounts.months import month_of, utc
from beast.accounts.once import SECRET_BYTES, Kept, Once
from beast.accounts.rules import (
    as_id,
    checked_expiry,
    checked_grace,
    checked_label,
    checked_networks,
    checked_scopes,
)
from beast.accounts.store import AccountStore
from beast.accounts.types import DEFAULT_SCOPES, ApiKey, KeyChanges, NewKey, State, Tier, given
from beast.base.clock import Clock
from beast.base.errors import UsageError
from beast.storage.database import Database

KEY_PREFIX = "tb_"
SHOWN = len(KEY_PREFIX) + 8
"""Characters of a key that are stored readable: 48 of its 256 random bits."""
GRACE = timedelta(days=1)
"""How long a rotated key goes on unless something else is said."""


def key_digest(key: str) -> bytes:
    """What is stored of a key and looked up: SHA-256 of its text."""
    return sha256(key.encode()).digest()


class Accounts:
    """API keys.

    Args:
        database: An open database.
        clock: Its wall clock says when something was done and which month a count belongs to.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._store = AccountStore(database)
        self._clock = clock

    @property
    def now(self) -> datetime:
        """The time that states are told for."""
        return utc(self._clock.wall_ns())

    async def create_key(
        self,
        tier: str,
        *,
        label: str = "",
        expires_at: datetime | None = None,
        user_id: int | None = None,
        scopes: Sequence[str] = DEFAULT_SCOPES,
        networks: Sequence[str] = (),
        by: Actor = SYSTEM,
        once: Once | None = None,
    ) -> NewKey:
        """Makes a key of 256 random bits.

        Args:
            tier: Its limits.
            label: What it is for.
            expires_at: When it ends.
            user_id: Whose it is.
            scopes: What it opens.
            networks: The only networks that it may be used from; none: any.
            by: Who makes it.
            once: The request, if it may be sent again: then that gets the same key.

        Raises:
            UsageError: There is no such tier or user, or a value is not allowed.
            ReusedRequestError: `once` came with something else before.
        """
        now = self.now
        fields = {
            "tier": tier,
            "label": checked_label(label),
            "expires_at": None if expires_at is None else checked_expiry(expires_at, now),
            "user_id": user_id,
            "scopes": checked_scopes(scopes),
            "networks": checked_networks(networks),
        }
        async with change(self._database, by, now) as transaction:
            if once is not None and (kept := await transaction.kept(once)) is not None:
                return _again(once, kept)
            await self._check_tier(tier)
            if user_id is not None:
                await transaction.hold_user(user_id)
            secret, row = await self._make(transaction, fields)
            await transaction.audit("key.create", f"key {row.id}", None, row)
            new = _new_key(secret, row)
            if once is not None:
                await transaction.keep(once, msgspec.structs.replace(new, api_key=""), secret)
        return new

    async def rotate_key(
        self, which: str, *, grace: timedelta = GRACE, by: Actor = SYSTEM, once: Once | None = None
    ) -> NewKey:
        """Makes the successor of a key. Until the grace is over both are good, and share limits and cap.

        Args:
            which: Its id, how it begins, or the whole key.
            grace: How long the old one goes on, unless it ends before.
            by: Who does it.
            once: As for create_key().

        Raises:
            UsageError: None or several keys are meant, or the grace is not allowed.
            ConflictError: It has been rotated, or is no longer good.
            ReusedRequestError: `once` came with something else before.
        """
        grace = checked_grace(grace)
        found, now = await self.find_key(which), self.now
        async with change(self._database, by, now) as transaction:
            if once is not None and (kept := await transaction.kept(once)) is not None:
                return _again(once, kept)
            old = await transaction.lock_key(found.id)
            if old.successor_id is not None:
                raise ConflictError("has been rotated", where=f"key {old.id}", todo=f"rotate key {old.successor_id}")
            if old.state_at(now) not in {"active", "paused"}:
                raise ConflictError(f"is {old.state_at(now)}", where=f"key {old.id}", todo="make a new one")
            fields = {name: getattr(old, name) for name in _INHERITED} | {"quota_key_id": old.quota_owner}
            secret, row = await self._make(transaction, fields)
            ends = now + grace if old.expires_at is None else min(now + grace, old.expires_at)
            rotated = msgspec.structs.replace(old, successor_id=row.id, quota_key_id=old.quota_owner, expires_at=ends)
            await transaction.update_key(old, rotated, "key.rotate")
            await transaction.audit("key.create", f"key {row.id}", None, row, rotated_from=old.id)
            new = _new_key(secret, row)
            if once is not None:
                await transaction.keep(once, msgspec.structs.replace(new, api_key=""), secret)
        return new

    async def revoke_key(self, which: str, *, by: Actor = SYSTEM) -> ApiKey:
        """Revokes the one key that `which` names: its id, how it begins (`tb_…`), or the whole key. It is for ever.

        Raises:
            UsageError: None or several are meant.
        """
        found = await self.find_key(which)
        async with change(self._database, by, self.now) as transaction:
            key = await transaction.lock_key(found.id)
            at = key.revoked_at or transaction.now
            return await transaction.update_key(
                key, msgspec.structs.replace(key, enabled=False, revoked_at=at), "key.revoke"
            )

    async def pause_key(self, which: str, *, by: Actor = SYSTEM) -> ApiKey:
        """Has a key refused until it is resumed; a paused one stays so.

        Raises:
            UsageError: None or several are meant.
            ConflictError: It is revoked.
        """
        found = await self.find_key(which)
        async with change(self._database, by, self.now) as transaction:
            key = _changeable(await transaction.lock_key(found.id))
            paused = msgspec.structs.replace(key, paused_at=key.paused_at or transaction.now)
            return await transaction.update_key(key, paused, "key.pause")

    async def resume_key(self, which: str, *, by: Actor = SYSTEM) -> ApiKey:
        """Ends a pause.

        Raises:
            UsageError: None or several are meant.
            ConflictError: It is revoked.
        """
        found = await self.find_key(which)
        async with change(self._database, by, self.now) as transaction:
            key = _changeable(await transaction.lock_key(found.id))
            return await transaction.update_key(key, msgspec.structs.replace(key, paused_at=None), "key.resume")

    async def update_key(self, which: str, changes: KeyChanges, *, by: Actor = SYSTEM) -> ApiKey:
        """Changes some of a key's columns.

        Raises:
            UsageError: None or several are meant, there is no such tier or user, or a value is not allowed.
            ConflictError: It is revoked.
        """
        found, now = await self.find_key(which), self.now
        wanted = given(changes)
        if isinstance(changes.label, str):
            wanted["label"] = checked_label(changes.label)
        if isinstance(changes.expires_at, datetime):
            wanted["expires_at"] = checked_expiry(changes.expires_at, now)
        if isinstance(changes.scopes, list):
            wanted["scopes"] = checked_scopes(changes.scopes)
        if isinstance(changes.networks, list):
            wanted["networks"] = checked_networks(changes.networks)
        if isinstance(changes.tier, str):
            await self._check_tier(changes.tier)
        async with change(self._database, by, now) as transaction:
            key = _changeable(await transaction.lock_key(found.id))
            if isinstance(changes.user_id, int):
                await transaction.hold_user(changes.user_id)
            return await transaction.update_key(key, msgspec.structs.replace(key, **wanted), "key.update")

    async def list_keys(
        self,
        *,
        after: int = 0,
        limit: int = 1000,
        user_id: int | None = None,
        tier: str | None = None,
        state: State | None = None,
        label: str | None = None,
    ) -> list[ApiKey]:
        """At most `limit` keys with ids above `after`: of one user, of one tier, in one state, with a label."""
        return await self._store.list_keys(
            now=self.now, after=after, limit=limit, user_id=user_id, tier=tier, state=state, label=label
        )

    async def find_key(self, which: str) -> ApiKey:
        """The one key that `which` names: its id, how it begins (`tb_…`), or the whole key.

        Raises:
            UnknownAccountError: There is none.
            UsageError: It names none, or several.
        """
        which = which.strip()
        if (key_id := as_id(which)) is not None:
            found, shown = await self._store.find_keys(key_id=key_id), which
        elif not which.startswith(KEY_PREFIX) or not which.isascii() or "\0" in which:
            raise UsageError(f"{which[:SHOWN]!r} names no key", todo="give its id, or how it begins: tb_…")
        elif len(which) > SHOWN:
            # It may be a whole key: that is never shown again, nor in an error.
            found, shown = await self._store.find_keys(key_hash=key_digest(which)), f"{which[:SHOWN]}…"
        else:
            found, shown = await self._store.find_keys(prefix=which), which
        if len(found) == 1:
            return found[0]
        if not found:
            raise UnknownAccountError(f"there is no key {shown}", todo="`beast keys list` shows them")
        ids = ", ".join(str(key.id) for key in found)
        raise UsageError(f"several keys begin with {shown}", todo=f"give one's id: {ids}…")

    async def list_tiers(self) -> list[Tier]:
        """All tiers, the smallest first."""
        return await self._store.list_tiers()

    async def _check_tier(self, tier: str) -> None:
        tiers = [known.tier for known in await self._store.list_tiers()]
        if tier not in tiers:
            raise UsageError(f"there is no tier {tier!r}", todo=f"one of {', '.join(tiers)}")

    async def _make(self, transaction: Change, fields: dict[str, Any]) -> tuple[bytes, ApiKey]:
        """(random bits, row) of a new key."""
        secret = secrets.token_bytes(SECRET_BYTES)
        key = key_text(secret)
        month = month_of(self._clock.wall_ns())
        row = await transaction.create_key(
            KeyToStore(**fields, key_hash=key_digest(key), prefix=key[:SHOWN], now=transaction.now, month=month)
        )
        return secret, row


_INHERITED = ("tier", "label", "expires_at", "user_id", "paused_at", "scopes", "networks")
"""What a rotated key's successor has of it."""


def key_text(secret: bytes) -> str:
    """The key that is made of these random bits."""
    return KEY_PREFIX + urlsafe_b64encode(secret).rstrip(b"=").decode()


def _new_key(secret: bytes, row: ApiKey) -> NewKey:
    shown = {name: getattr(row, name) for name in NewKey.__struct_fields__ if name != "api_key"}
    return NewKey(api_key=key_text(secret), **shown)


def _again(once: Once, kept: Kept) -> NewKey:
    """The key that was made when the same was asked before."""
    new = msgspec.json.decode(kept.answer, type=NewKey)
    secret = once.open(kept)
    if secret is None or not key_text(secret).startswith(new.prefix):
        raise ConflictError("its text can't be told again: the operator's key is another", where=f"key {new.id}")
    return msgspec.structs.replace(new, api_key=key_text(secret))


def _changeable(key: ApiKey) -> ApiKey:
    if not key.enabled:
        raise ConflictError("is revoked for ever", where=f"key {key.id}", todo="make a new one")
    return key
