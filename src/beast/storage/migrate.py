"""Brings a database's tables up to date. Forward only, and safe to run by several nodes at once."""

from __future__ import annotations

import importlib.resources
import socket
import uuid
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog

# yoyo comes without type information.
from yoyo import read_migrations  # type: ignore[import-untyped]
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend  # type: ignore[import-untyped]
from yoyo.connections import parse_uri  # type: ignore[import-untyped]

from beast.base.errors import BeastError
from beast.base.log import mask_text

# The advisory lock of all migrators, "beast" in ASCII: the session's end frees it, however the migrator dies.
_LOCK_KEY = 0x6265617374

_log = structlog.get_logger("beast.storage")


def migrate(url: str) -> list[str]:
    """Applies the migrations that the database lacks, each in one transaction with its mark. Blocks.

    Args:
        url: postgresql://…

    Returns:
        The names of those that were applied.

    Raises:
        BeastError: The database can't be reached, or a migration fails; what was applied before it stays.
    """
    try:
        backend = _Backend(url)
    except psycopg.Error as error:
        reason = f"can't connect: {mask_text(str(error))}"
        raise BeastError(reason, where="database", todo="check DATABASE_URL") from error
    applied: list[str] = []
    folder = importlib.resources.files("beast.storage").joinpath("migrations")
    with backend, importlib.resources.as_file(folder) as path:
        backend.execute("SELECT pg_advisory_lock(:key)", {"key": _LOCK_KEY})
        backend.ensure_internal_schema_updated()
        for migration in backend.to_apply(read_migrations(str(path))):
            try:
                with backend.transaction():
                    backend.apply_one(migration)
            except psycopg.Error as error:
                raise BeastError(f"failed: {mask_text(str(error))}", where=f"migration {migration.id}") from error
            _log.info("migration applied", migration=migration.id)
            applied.append(migration.id)
    return applied


class _SilentCursor(psycopg.Cursor[Any]):
    """A cursor that doesn't tell that rows came back: yoyo would print them where a command's own answer belongs."""

    @property
    def description(self) -> None:
        return None


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's backend, on one connection.

    As it comes, yoyo applies a migration on a second connection and marks it in another transaction, under a lock
    that is a row: killed in between, it leaves tables without a mark, or the row. Here both are one transaction,
    and the lock is the session's.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__(parse_uri("postgresql+psycopg:///"), "_yoyo_migration")

    def connect(self, _uri: object) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self._url, autocommit=True, application_name="beast-migrate", cursor_factory=_SilentCursor
        )

    def copy(self) -> AbstractContextManager[_Backend]:
        return nullcontext(self)

    def lock(self, timeout: float = 0) -> AbstractContextManager[None]:
        del timeout
        return nullcontext()

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        # Without asking who runs this: a container's user needn't have a name, nor its host an address.
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": "beast",
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }
