"""The only place in accounts that talks to the database."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from beast.accounts.types import ApiKey, Scope, Tier
from beast.storage.database import Database
from beast.storage.queries import Queries

_QUERIES = Queries("beast.accounts")


class KeyToStore(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `api_keys` to be."""

    key_hash: bytes
    prefix: str
    tier: str
    label: str
    expires_at: datetime | None
    user_id: int | None
    paused_at: datetime | None = None
    scopes: list[Scope]
    networks: list[str]
    quota_key_id: int | None = None
    now: datetime
    month: date


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


class AccountStore:
    """Statements of `queries.sql` as methods. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_key(self, key: KeyToStore) -> ApiKey:
        """Inserts one key."""
        created = await self._database.fetch_one(_QUERIES["create_key"], msgspec.structs.asdict(key), row=ApiKey)
        assert created is not None
        return created

    async def list_keys(self, *, after: int, limit: int) -> list[ApiKey]:
        """At most `limit` keys with ids above `after`, in their order."""
        return await self._database.fetch(_QUERIES["list_keys"], {"after": after, "limit": limit}, row=ApiKey)

    async def find_keys(
        self, *, key_id: int | None = None, key_hash: bytes | None = None, prefix: str | None = None
    ) -> list[ApiKey]:
        """At most three keys that match what is given."""
        values = {"id": key_id, "key_hash": key_hash, "prefix": prefix}
        return await self._database.fetch(_QUERIES["find_keys"], values, row=ApiKey)

    async def revoke_key(self, *, key_id: int, now: datetime) -> ApiKey | None:
        """Disables a key for ever; None when there is none."""
        return await self._database.fetch_one(_QUERIES["revoke_key"], {"id": key_id, "now": now}, row=ApiKey)

    async def list_tiers(self) -> list[Tier]:
        """All tiers, the smallest first."""
        return await self._database.fetch(_QUERIES["list_tiers"], row=Tier)

    async def add_usage(self, *, ids: Sequence[int], counts: Sequence[int], month: date, now: datetime) -> int:
        """Adds to the counts of `month` (its first day); returns how many keys there were."""
        values = {"ids": list(ids), "counts": list(counts), "month": month, "now": now}
        return await self._database.execute(_QUERIES["add_usage"], values)

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
