"""A login that can only read, for questions that somebody types.

A role is no wall inside a session that could take it off again (`set_config('role', …)` is a SELECT). So the question
goes over a connection of its own, logged in as a role with nothing but SELECT, in a read-only transaction that is
rolled back; whatever it does to its own session ends with it.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from beast.base.errors import BeastError, UsageError
from beast.base.log import mask_text
from beast.storage.database import Connection, Database, DatabaseUnavailableError

CONNECTIONS = 4
"""Questions at once."""
WORK_MEM = "32MB"
GRACE_S = 2.0
"""The server ends a statement itself; after this long beyond its time the connection is given up."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a question came to."""

    columns: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]
    more: bool
    """There were more rows, or more bytes, than the limits."""
    took_ms: float


class Guest:
    """Makes the login when it is first needed, with a password that nobody is told.

    Args:
        database: Its user makes the role; its address is the guest's, too.
        node: Each node has a role of its own, `beast_reader_NODE`.
    """

    def __init__(self, database: Database, node: str) -> None:
        self._database = database
        self.role = f"beast_reader_{node}"[:63]
        self._password = ""
        self._lock = asyncio.Lock()

    async def ask(self, question: str, args: Sequence[Any], *, timeout_ms: int, rows: int, most_bytes: int) -> Found:
        """The first rows of one statement with `$1`, `$2`, … for `args`.

        Raises:
            UsageError: The server refuses the statement.
            DatabaseUnavailableError: It takes too long, or nobody can log in.
        """
        began = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_ms / 1e3 + GRACE_S), await self._log_in(timeout_ms) as connection:
                columns, types, kept, more = await _first_rows(connection, question, args, rows, most_bytes)
        except TimeoutError:
            raise DatabaseUnavailableError(f"not done within {timeout_ms} ms", where="sql") from None
        except psycopg.errors.QueryCanceled as error:
            raise DatabaseUnavailableError(f"not done within {timeout_ms} ms", where="sql") from error
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(mask_text(str(error)), where="sql") from error
        except psycopg.Error as error:
            raise UsageError(mask_text(str(error)) or type(error).__name__, where="sql") from error
        took_ms = (time.perf_counter() - began) * 1e3
        return Found(columns=columns, types=types, rows=kept, more=more, took_ms=took_ms)

    async def _log_in(self, timeout_ms: int) -> Connection:
        async with self._lock:
            if not self._password:
                await self._make_role()
        options = f"-c statement_timeout={timeout_ms} -c default_transaction_read_only=on -c work_mem={WORK_MEM}"
        address = make_conninfo(self._database.url, user=self.role, password=self._password)
        return await psycopg.AsyncConnection.connect(
            address, application_name="beast-sql", options=f"{options} -c timezone=UTC", connect_timeout=5
        )

    async def _make_role(self) -> None:
        password, role = secrets.token_urlsafe(32), sql.Identifier(self.role)
        try:
            async with self._database.connection() as connection:
                # Two databases of one server may be at it at once; the role is the server's.
                with contextlib.suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                    await connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
                change = "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT {} PASSWORD {}"
                await connection.execute(sql.SQL(change).format(role, CONNECTIONS, password))
                await connection.execute("SELECT let_read(%s::text::regrole)", [self.role])
        except psycopg.errors.InsufficientPrivilege as error:
            raise BeastError(
                f"the role {self.role} can't be made: {error}",
                where="sql",
                todo="give the server's database user CREATEROLE",
            ) from error
        self._password = password


async def _first_rows(
    connection: Connection, question: str, args: Sequence[Any], most: int, most_bytes: int
) -> tuple[list[str], list[str], list[tuple[Any, ...]], bool]:
    kept: list[tuple[Any, ...]] = []
    size, more = 0, False
    async with psycopg.AsyncRawCursor(connection) as cursor:
        # Streamed, row by row: the rest of a large result is never fetched. It goes by the extended protocol, which
        # takes one statement and no more.
        rows = cast("AsyncGenerator[tuple[Any, ...]]", cursor.stream(question.encode(), args))
        async with contextlib.aclosing(rows):
            async for row in rows:
                size += sum(len(str(value)) for value in row)
                if len(kept) == most or size > most_bytes:
                    more = True
                    break
                kept.append(row)
        described = cursor.description or ()
        types = [_type_name(connection, column.type_code) for column in described]
        columns = [column.name for column in described]
    await connection.rollback()
    return columns, types, kept, more


def _type_name(connection: Connection, oid: int) -> str:
    known = connection.adapters.types.get(oid)
    return known.name if known else str(oid)
