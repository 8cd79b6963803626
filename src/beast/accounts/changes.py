"""One change of accounts: a transaction that locks what it reads, writes it, and writes the audit log with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from beast.accounts.audit import Actor, Entry, difference, write_entry
from beast.accounts.errors import ConflictError, ReusedRequestError, UnknownAccountError
from beast.accounts.once import Kept, Once
from beast.accounts.types import ApiKey, Scope, Tier, User
from beast.storage.database import Connection, Database, rows_of
from beast.storage.queries import Queries

_QUERIES = Queries("beast.accounts")
_Row = TypeVar("_Row", bound=msgspec.Struct)
KEPT_FOR: Final = timedelta(hours=24)
"""How long the answer to a creation is kept for those who send it again."""


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


class _Id(msgspec.Struct, frozen=True):
    id: int


class _Claim(msgspec.Struct, frozen=True):
    digest: bytes


class Change:
    """What may be done inside the transaction. Every method may raise DatabaseUnavailableError.

    Args:
        connection: In a transaction.
        actor: Who it is that changes something.
        now: When.
    """

    def __init__(self, connection: Connection, actor: Actor, now: datetime) -> None:
        self._connection = connection
        self._actor = actor
        self.now = now

    # Keys

    async def lock_key(self, key_id: int) -> ApiKey:
        """The key as it is now; nobody else changes it, or its line, until the end.

        Raises:
            UnknownAccountError: It is gone.
        """
        await self._connection.execute(_QUERIES["lock_line"], {"id": key_id})
        return await self._one("key_by_id", {"id": key_id}, ApiKey, f"key {key_id}")

    async def create_key(self, key: KeyToStore) -> ApiKey:
        """Inserts one key."""
        (created,) = await rows_of(self._connection, _QUERIES["create_key"], msgspec.structs.asdict(key), row=ApiKey)
        return created

    async def update_key(self, before: ApiKey, after: ApiKey, action: str, **told: object) -> ApiKey:
        """Writes what differs, and the audit log what it was and is; nothing when nothing differs.

        Args:
            before: As lock_key() gave it.
            after: As it is to be.
            action: What the audit log calls it.
            told: What else the audit log should say.
        """
        if before == after:
            return before
        if before.tier != after.tier:
            values = {"id": after.id, "quota_key_id": after.quota_key_id, "tier": after.tier}
            await self._connection.execute(_QUERIES["set_tier_of_line"], values)
        await self._connection.execute(_QUERIES["update_key"], msgspec.structs.asdict(after))
        await self.audit(action, f"key {after.id}", before, after, **told)
        return after

    # Users and tiers

    async def hold_user(self, user_id: int) -> None:
        """Keeps a user from being deleted until the end.

        Raises:
            UnknownAccountError: There is none.
        """
        await self._one("hold_user", {"id": user_id}, _Id, f"user {user_id}")

    async def lock_user(self, user_id: int) -> User:
        """The user as they are now; no user changes until the end.

        Raises:
            UnknownAccountError: There is none.
        """
        await self._connection.execute(_QUERIES["lock_users"])
        return await self._one("find_user", {"id": user_id, "email": None}, User, f"user {user_id}")

    async def create_user(self, *, email: str, name: str, preferred_lang: str) -> User:
        """Inserts one user.

        Raises:
            ConflictError: The address is taken.
        """
        values = {"email": email, "name": name, "preferred_lang": preferred_lang, "now": self.now}
        created = await rows_of(self._connection, _QUERIES["create_user"], values, row=User)
        if not created:
            raise ConflictError(f"there is a user with the address {email}", todo="change that one")
        await self.audit("user.create", f"user {created[0].id}", None, created[0])
        return created[0]

    async def update_user(self, before: User, after: User) -> User:
        """Writes what differs.

        Raises:
            ConflictError: The new address is taken.
        """
        if before == after:
            return before
        if before.email != after.email:
            values = {"id": None, "email": after.email}
            if await rows_of(self._connection, _QUERIES["find_user"], values, row=User):
                raise ConflictError(f"there is a user with the address {after.email}", where=f"user {before.id}")
        after = msgspec.structs.replace(after, updated_at=self.now)
        await self._connection.execute(_QUERIES["update_user"], msgspec.structs.asdict(after))
        await self.audit("user.update", f"user {after.id}", before, after)
        return after

    async def lock_tier(self, tier: str) -> Tier | None:
        """A tier as it is now; no tier changes until the end."""
        await self._connection.execute(_QUERIES["lock_tiers"])
        found = await rows_of(self._connection, _QUERIES["find_tier"], {"tier": tier}, row=Tier)
        return found[0] if found else None

    async def set_tier(self, before: Tier | None, after: Tier) -> Tier:
        """Adds or changes a tier."""
        if before != after:
            await self._connection.execute(_QUERIES["set_tier"], msgspec.structs.asdict(after))
            await self.audit("tier.set", f"tier {after.tier}", before, after)
        return after

    # The audit log, and what is asked twice

    async def audit(self, action: str, subject: str, before: _Row | None, after: _Row, **told: object) -> None:
        """Writes what was done: all of what is new, else what differs."""
        old, new = (None, msgspec.to_builtins(after)) if before is None else difference(before, after)
        entry = Entry(at=self.now, actor=self._actor, action=action, subject=subject, before=old, after=new | told)
        await write_entry(self._connection, entry)

    async def kept(self, once: Once) -> Kept | None:
        """The answer to the same request before; None: this is the first, and keep() is to follow.

        Raises:
            ReusedRequestError: That was another request.
        """
        await self._connection.execute(_QUERIES["forget_answers"], {"before": self.now - KEPT_FOR})
        values = {"digest": once.digest, "request": once.request, "now": self.now}
        if await rows_of(self._connection, _QUERIES["claim_answer"], values, row=_Claim):
            return None
        kept = await self._one("kept_answer", {"digest": once.digest}, Kept, "the answer")
        if kept.request != once.request:
            raise ReusedRequestError(
                "this Idempotency-Key came with another request before", todo="use a new one for each creation"
            )
        return kept

    async def keep(self, once: Once, answer: msgspec.Struct, secret: bytes | None = None) -> None:
        """Keeps the answer for a day; `secret` is sealed."""
        salt, sealed = (None, None) if secret is None else once.seal(secret)
        values = {"digest": once.digest, "answer": msgspec.json.encode(answer).decode(), "salt": salt, "sealed": sealed}
        await self._connection.execute(_QUERIES["keep_answer"], values)

    async def _one(self, query: str, values: dict[str, Any], row: type[_Row], what: str) -> _Row:
        found = await rows_of(self._connection, _QUERIES[query], values, row=row)
        if not found:
            raise UnknownAccountError(f"there is no {what}")
        return found[0]


@asynccontextmanager
async def change(database: Database, actor: Actor, now: datetime) -> AsyncIterator[Change]:
    """One change: all of it at the end, or nothing when an exception leaves it."""
    async with database.transaction() as connection:
        yield Change(connection, actor, now)
