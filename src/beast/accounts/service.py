"""The rules of API keys: how they are made, found, revoked and charged."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

from beast.accounts.months import month_of, utc
from beast.accounts.store import AccountStore, KeyToStore
from beast.accounts.types import DEFAULT_SCOPES, ApiKey, NewKey, Tier
from beast.base.clock import Clock
from beast.base.errors import UsageError
from beast.storage.database import Database

KEY_PREFIX = "tb_"
SHOWN = len(KEY_PREFIX) + 8
"""Characters of a key that are stored readable: 48 of its 256 random bits."""
LABEL_MAX = 200
ID_MAX = 2**63 - 1
ID_DIGITS = len(str(ID_MAX))
LATEST_EXPIRY = datetime(2200, 1, 1, tzinfo=UTC)
"""The table takes none later: as nanoseconds it must fit into 64 bits."""


def key_digest(key: str) -> bytes:
    """What is stored of a key and looked up: SHA-256 of its text."""
    return sha256(key.encode()).digest()


class Accounts:
    """API keys and tiers.

    Args:
        database: An open database.
        clock: Its wall clock says when a key was revoked and which month a count belongs to.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._store = AccountStore(database)
        self._clock = clock

    async def create_key(
        self, tier: str, *, label: str = "", expires_at: datetime | None = None, user_id: int | None = None
    ) -> NewKey:
        """Makes a key of 256 random bits.

        Raises:
            UsageError: There is no such tier, the label is too long, or it expires at once or too late.
        """
        now_ns = self._clock.wall_ns()
        tiers = [known.tier for known in await self._store.list_tiers()]
        if tier not in tiers:
            raise UsageError(f"there is no tier {tier!r}", todo=f"one of {', '.join(tiers)}")
        if len(label) > LABEL_MAX or not label.isprintable():
            raise UsageError("the label can't be stored", todo=f"at most {LABEL_MAX} printable characters")
        if expires_at is not None:
            _check_expiry(expires_at, utc(now_ns))
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        row = await self._store.create_key(
            KeyToStore(
                key_hash=key_digest(key),
                prefix=key[:SHOWN],
                tier=tier,
                label=label,
                expires_at=expires_at,
                user_id=user_id,
                scopes=list(DEFAULT_SCOPES),
                networks=[],
                now=utc(now_ns),
                month=month_of(now_ns),
            )
        )
        return NewKey(
            api_key=key,
            id=row.id,
            tier=row.tier,
            label=row.label,
            expires_at=row.expires_at,
            scopes=row.scopes,
            networks=row.networks,
            user_id=row.user_id,
        )

    async def list_keys(self, *, after: int = 0, limit: int = 1000) -> list[ApiKey]:
        """At most `limit` keys with ids above `after`."""
        return await self._store.list_keys(after=after, limit=limit)

    async def list_tiers(self) -> list[Tier]:
        """All tiers, the smallest first."""
        return await self._store.list_tiers()

    async def revoke_key(self, which: str) -> ApiKey:
        """Revokes the one key that `which` names: its id, how it begins (`tb_…`), or the whole key.

        Raises:
            UsageError: None or several are meant.
        """
        key = await self._find(which.strip())
        revoked = await self._store.revoke_key(key_id=key.id, now=utc(self._clock.wall_ns()))
        return revoked or key

    async def add_usage(self, pairs: Sequence[tuple[int, int]]) -> int:
        """Adds (key id, answers) to what the keys have used this month, in one statement.

        Returns:
            How many of the keys there are; counts of unknown keys are dropped.

        Raises:
            ValueError: A count is negative.
            DatabaseUnavailableError: Nothing was added.
        """
        if not pairs:
            return 0
        if min(count for _, count in pairs) < 0:
            raise ValueError("a count of answers is not negative")
        now_ns = self._clock.wall_ns()
        ids, counts = zip(*pairs, strict=True)
        return await self._store.add_usage(ids=ids, counts=counts, month=month_of(now_ns), now=utc(now_ns))

    async def _find(self, which: str) -> ApiKey:
        if which.isascii() and which.isdigit() and len(which) <= ID_DIGITS and int(which) <= ID_MAX:
            found, shown = await self._store.find_keys(key_id=int(which)), which
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
            raise UsageError(f"there is no key {shown}", todo="`beast keys list` shows them")
        ids = ", ".join(str(key.id) for key in found)
        raise UsageError(f"several keys begin with {shown}", todo=f"give one's id: {ids}…")


def _check_expiry(at: datetime, now: datetime) -> None:
    if at.tzinfo is None:
        raise UsageError(f"{at.isoformat()} has no time zone", todo="append Z or an offset such as +01:00")
    if at <= now:
        raise UsageError(f"the key would have expired at {at}", todo="give a later time")
    if at > LATEST_EXPIRY:
        raise UsageError(f"the key would expire at {at}", todo=f"at the latest at {LATEST_EXPIRY}")
