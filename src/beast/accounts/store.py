"""What accounts reads from the database, and how counts get in. Changes are in beast.accounts.changes."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from beast.accounts.types import Alert, ApiKey, State, Tier, User
from beast.storage.database import Database
from beast.storage.queries import Queries
from beast.storage.statements import Named

_QUERIES = Queries("beast.accounts")
KEY_LOOKUP = Named.of("beast_key_lookup", _QUERIES["key_by_digest"])
KEY_TOUCH = Named.of("beast_key_touch", _QUERIES["touch_key"])


class PackedKeys(msgspec.Struct, frozen=True):
    """Keys packed by the server, see beast.accounts.sync."""

    rows: int
    last_id: int
    records: bytes


class DeletedKeys(msgspec.Struct, frozen=True):
    """SHA-256 digests of deleted keys, one after the other."""

    at: datetime
    """The server's time of this look."""
    records: bytes


class LineUsage(msgspec.Struct, frozen=True):
    """What a line of rotated keys has used in one month, and who it is."""

    used: int
    ids: list[int]


class DayCount(msgspec.Struct, frozen=True):
    """Prices answered on one day, UTC."""

    day: date
    answers: int


class AssetCount(msgspec.Struct, frozen=True):
    """Requests answered for one asset; of several assets asked at once, for the first."""

    asset: str
    answers: int


class _Touched(msgspec.Struct, frozen=True):
    id: int


class AccountStore:
    """Statements of `queries.sql` as methods. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_keys(
        self,
        *,
        now: datetime,
        after: int,
        limit: int,
        user_id: int | None = None,
        tier: str | None = None,
        state: State | None = None,
        label: str | None = None,
    ) -> list[ApiKey]:
        """At most `limit` keys with ids above `after`, in their order; None asks for nothing in particular."""
        values = {"after": after, "limit": limit, "user_id": user_id, "tier": tier, "state": state, "label": label}
        return await self._database.fetch(_QUERIES["list_keys"], values | {"now": now}, row=ApiKey)

    async def find_keys(
        self, *, key_id: int | None = None, key_hash: bytes | None = None, prefix: str | None = None
    ) -> list[ApiKey]:
        """At most three keys that match what is given."""
        values = {"id": key_id, "key_hash": key_hash, "prefix": prefix}
        return await self._database.fetch(_QUERIES["find_keys"], values, row=ApiKey)

    async def key_by_digest(self, digest: bytes) -> ApiKey | None:
        """The key with this SHA-256."""
        found = await self._database.fetch_named(KEY_LOOKUP, {"key_hash": digest}, row=ApiKey)
        return found[0] if found else None

    async def touch_key(self, *, key_id: int, now: datetime) -> None:
        """Notes that a key is in use, to the minute: answers of the workers are noted when they are booked."""
        await self._database.fetch_named(KEY_TOUCH, {"id": key_id, "now": now}, row=_Touched)

    async def list_tiers(self) -> list[Tier]:
        """All tiers, the smallest first."""
        return await self._database.fetch(_QUERIES["list_tiers"], row=Tier)

    async def find_tier(self, tier: str) -> Tier | None:
        """One tier."""
        return await self._database.fetch_one(_QUERIES["find_tier"], {"tier": tier}, row=Tier)

    async def list_users(self, *, after: int, limit: int, email: str | None = None) -> list[User]:
        """At most `limit` users with ids above `after`, in their order."""
        values = {"after": after, "limit": limit, "email": email}
        return await self._database.fetch(_QUERIES["list_users"], values, row=User)

    async def find_user(self, *, user_id: int | None = None, email: str | None = None) -> User | None:
        """The user with this id or address."""
        return await self._database.fetch_one(_QUERIES["find_user"], {"id": user_id, "email": email}, row=User)

    async def line_usage(self, *, key: ApiKey, month: date) -> LineUsage:
        """What the line of this key has used in `month`."""
        values = {"id": key.id, "quota_key_id": key.quota_key_id, "month": month}
        line = await self._database.fetch_one(_QUERIES["line_usage"], values, row=LineUsage)
        assert line is not None
        return line

    async def usage_by_day(self, *, ids: Sequence[int], begin: datetime, end: datetime) -> list[DayCount]:
        """Answers of each day that has some."""
        values = {"ids": list(ids), "begin": begin, "end": end}
        return await self._database.fetch(_QUERIES["usage_by_day"], values, row=DayCount)

    async def usage_by_asset(
        self, *, ids: Sequence[int], begin: datetime, end: datetime, limit: int
    ) -> list[AssetCount]:
        """The assets that were asked for most."""
        values = {"ids": list(ids), "begin": begin, "end": end, "limit": limit}
        return await self._database.fetch(_QUERIES["usage_by_asset"], values, row=AssetCount)

    async def list_alerts(
        self, *, after: int = 0, limit: int, key_id: int | None = None, month: date | None = None
    ) -> list[Alert]:
        """At most `limit` events with ids above `after`, in their order."""
        values = {"after": after, "limit": limit, "key_id": key_id, "month": month}
        return await self._database.fetch(_QUERIES["list_alerts"], values, row=Alert)

    async def key_chunk(self, *, after: int, limit: int, month: date) -> PackedKeys:
        """At most `limit` packed keys with ids above `after`; what is left of the caps of `month`."""
        values = {"after": after, "limit": limit, "month": month}
        chunk = await self._database.fetch_one(_QUERIES["key_chunk"], values, row=PackedKeys)
        assert chunk is not None
        return chunk

    async def key_by_hash(self, *, key_hash: bytes, month: date) -> PackedKeys:
        """One packed key, or none."""
        values = {"key_hash": key_hash, "month": month}
        chunk = await self._database.fetch_one(_QUERIES["key_by_hash"], values, row=PackedKeys)
        assert chunk is not None
        return chunk

    async def deleted_keys(self, *, since: datetime | None) -> DeletedKeys:
        """Keys deleted since the last look; none at the first."""
        values = {"since": since or "infinity"}
        deleted = await self._database.fetch_one(_QUERIES["deleted_keys"], values, row=DeletedKeys)
        assert deleted is not None
        return deleted
