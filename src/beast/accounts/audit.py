"""The audit log as rows: who changed what, when, from where, and how it was before. No secret gets in.

Changes of accounts are written in their own transaction. What else the admin API changes is told to the Trail, which
writes it behind the answer.
"""

import asyncio
import getpass
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from beast.accounts.months import utc
from beast.base.clock import Clock
from beast.base.log import masked
from beast.storage.database import Connection, Database, DatabaseUnavailableError
from beast.storage.queries import Queries

_QUERIES = Queries("beast.accounts")
WAITING_MAX: Final = 10_000
RETRY_S: Final = 1.0

_log = structlog.get_logger("beast.accounts")


class Actor(msgspec.Struct, frozen=True):
    """Who changes something."""

    name: str
    address: str = ""
    """Empty: on the machine itself."""


SYSTEM: Final = Actor("beast")
"""The server on its own account."""


def command_line() -> Actor:
    """The system's user who runs a command."""
    try:
        return Actor(f"cli:{getpass.getuser()}")
    except (OSError, KeyError):  # a container's user needn't have a name
        return Actor("cli")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `audit_log` to be."""

    at: datetime
    actor: Actor
    action: str
    subject: str = ""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `audit_log`."""

    id: int
    at: datetime
    actor: str
    address: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def difference(before: msgspec.Struct, after: msgspec.Struct) -> tuple[dict[str, Any], dict[str, Any]]:
    """The members of two structs of one type that differ, as they were and as they are, fit for JSON."""
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    names = [name for name in old if old[name] != new[name]]
    return {name: old[name] for name in names}, {name: new[name] for name in names}


async def write_entry(connection: Connection, entry: Entry) -> None:
    """Writes one row in the transaction of `connection`."""
    await connection.execute(
        _QUERIES["write_audit"],
        {
            "at": entry.at,
            "actor": entry.actor.name,
            "address": entry.actor.address,
            "action": entry.action,
            "subject": entry.subject,
            "before": _json(entry.before),
            "after": _json(entry.after),
        },
    )


def _json(value: Mapping[str, Any] | None) -> str | None:
    # What looks like a secret is masked whoever handed it in.
    return None if value is None else msgspec.json.encode(masked(dict(value)), enc_hook=str).decode()


class Trail:
    """Writes entries behind the answers that they are about; `running()` is its life.

    Args:
        database: An open database.
        clock: Says when.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: deque[Entry] = deque()
        self._wake = asyncio.Event()

    def put(self, actor: Actor, action: str, details: Mapping[str, Any]) -> None:
        """Hands one change over. While the database is away they wait; too many, and only the log's line is left."""
        if len(self._waiting) >= WAITING_MAX:
            _log.error("an entry of the audit log is in this log alone: the database is away", action=action)
            return
        self._waiting.append(Entry(at=utc(self._clock.wall_ns()), actor=actor, action=action, after=details))
        self._wake.set()

    async def list_rows(
        self, *, before: int | None = None, limit: int = 100, action: str = "", subject: str = "", actor: str = ""
    ) -> list[AuditRow]:
        """The newest first.

        Args:
            before: Only rows with smaller ids.
            limit: As many at most.
            action: What the action begins with.
            subject: The whole subject, such as `key 17`.
            actor: The whole name.

        Raises:
            DatabaseUnavailableError: They can't be read now.
        """
        values = {"before": before, "limit": limit, "action": action, "subject": subject, "actor": actor}
        return await self._database.fetch(_QUERIES["list_audit"], values, row=AuditRow)

    async def flush(self) -> None:
        """Writes what waits.

        Raises:
            DatabaseUnavailableError: The rest still waits.
        """
        while self._waiting:
            async with self._database.transaction() as connection:
                entry = self._waiting[0]
                await write_entry(connection, entry)
            # What was put meanwhile stands behind it.
            self._waiting.popleft()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Writes while it lasts, and what is left at its end."""
        ending = asyncio.Event()
        task = asyncio.create_task(self._run(ending), name="audit trail")
        try:
            yield
        finally:
            # Told, not cancelled: cancelled between its commit and its forgetting, an entry would be written twice.
            ending.set()
            self._wake.set()
            await task
            try:
                await self.flush()
            except DatabaseUnavailableError as error:
                _log.error(
                    "entries of the audit log are in this log alone", entries=len(self._waiting), error=str(error)
                )

    async def _run(self, ending: asyncio.Event) -> None:
        while not ending.is_set():
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except DatabaseUnavailableError as error:
                _log.warning("the audit log can't be written now", error=str(error))
                with suppress(TimeoutError):
                    await asyncio.wait_for(ending.wait(), RETRY_S)
                self._wake.set()
