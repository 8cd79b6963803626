"""The rules of users. All changes of them come through here."""

import msgspec

from beast.accounts.audit import SYSTEM, Actor
from beast.accounts.changes import change
from beast.accounts.errors import UnknownAccountError
from beast.accounts.months import utc
from beast.accounts.once import Once
from beast.accounts.rules import as_id, checked_email, checked_label, checked_language
from beast.accounts.store import AccountStore
from beast.accounts.types import User, UserChanges, given
from beast.base.clock import Clock
from beast.storage.database import Database


class Users:
    """The customers.

    Args:
        database: An open database.
        clock: Its wall clock says when something was done.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._store = AccountStore(database)
        self._clock = clock

    async def create(
        self, email: str, *, name: str = "", preferred_lang: str = "en", by: Actor = SYSTEM, once: Once | None = None
    ) -> User:
        """Adds a user.

        Raises:
            UsageError: A value is not allowed.
            ConflictError: The address is taken.
            ReusedRequestError: `once` came with something else before.
        """
        email, name, language = checked_email(email), checked_label(name), checked_language(preferred_lang)
        async with change(self._database, by, utc(self._clock.wall_ns())) as transaction:
            if once is not None and (kept := await transaction.kept(once)) is not None:
                return msgspec.json.decode(kept.answer, type=User)
            user = await transaction.create_user(email=email, name=name, preferred_lang=language)
            if once is not None:
                await transaction.keep(once, user)
        return user

    async def update(self, which: str, changes: UserChanges, *, by: Actor = SYSTEM) -> User:
        """Changes some of a user's columns.

        Raises:
            UnknownAccountError: There is none of this id or address.
            UsageError: A value is not allowed.
            ConflictError: The new address is taken.
        """
        found = await self.find(which)
        wanted = given(changes)
        if isinstance(changes.email, str):
            wanted["email"] = checked_email(changes.email)
        if isinstance(changes.name, str):
            wanted["name"] = checked_label(changes.name)
        if isinstance(changes.preferred_lang, str):
            wanted["preferred_lang"] = checked_language(changes.preferred_lang)
        async with change(self._database, by, utc(self._clock.wall_ns())) as transaction:
            user = await transaction.lock_user(found.id)
            return await transaction.update_user(user, msgspec.structs.replace(user, **wanted))

    async def list_page(self, *, after: int = 0, limit: int = 1000, email: str | None = None) -> list[User]:
        """At most `limit` users with ids above `after`."""
        return await self._store.list_users(after=after, limit=limit, email=None if email is None else email.lower())

    async def find(self, which: str) -> User:
        """The user with this id or address.

        Raises:
            UnknownAccountError: There is none.
            UsageError: It is neither.
        """
        which = which.strip()
        if (user_id := as_id(which)) is not None:
            user = await self._store.find_user(user_id=user_id)
        else:
            user = await self._store.find_user(email=checked_email(which))
        if user is None:
            raise UnknownAccountError(f"there is no user {which}", todo="`beast users list` shows them")
        return user
