"""The pool of PostgreSQL connections, and LISTEN. Only this room imports psycopg."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Self, TypeVar

import msgspec
import psycopg
import structlog
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from beast.base.errors import BeastError
from beast.base.log import mask_text
from beast.base.retry import Backoff
from beast.storage.queries import Queries
from beast.storage.statements import Named, Statements

Row = TypeVar("Row", bound=msgspec.Struct)
Parameters = Mapping[str, Any] | Sequence[Any] | None
Connection = psycopg.AsyncConnection[tuple[Any, ...]]

LEAD_S = 2.0
"""Between two questions of who leads, in seconds."""
UPKEEP = "-c maintenance_work_mem=256MB -c max_parallel_maintenance_workers=0"
"""An index is sorted in memory where it fits, and leaves the other cores to those who answer."""

_QUERIES = Queries("beast.storage")
_log = structlog.get_logger("beast.storage")


class DatabaseUnavailableError(BeastError):
    """The database can't be reached now, or did not finish in time. A later attempt may succeed."""


class RejectedError(BeastError):
    """The database does not take these values, and won't take them later."""


class Notice(msgspec.Struct, frozen=True):
    """One NOTIFY."""

    channel: str
    payload: str


class Database:
    """A pool of connections to one database. Statements come from a domain's Queries.

    Args:
        url: postgresql://… or any other libpq connection string.
        min_size: Connections kept open.
        max_size: Connections at most; more callers wait.
        statement_timeout_ms: The server ends a statement that takes longer; 0: never.
        connect_timeout_s: How long open() and a waiting caller wait for a connection.
        application_name: How the connections are named in pg_stat_activity.
        statements: Prepared on each connection, for fetch_named().
    """

    def __init__(
        self,
        url: str,
        *,
        min_size: int = 1,
        max_size: int = 12,
        statement_timeout_ms: int = 30_000,
        connect_timeout_s: float = 10.0,
        application_name: str = "beast",
        statements: Statements | None = None,
    ) -> None:
        self.url = url
        self.statements = statements or Statements()
        # A dead peer is noticed within half a minute, also by a connection that only listens.
        self._arguments: dict[str, Any] = {
            "application_name": application_name,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            "connect_timeout": max(2, round(connect_timeout_s)),
            "options": f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC",
            "autocommit": True,
        }
        self._connect_timeout_s = connect_timeout_s
        self._waits = 0
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            kwargs=self._arguments,
            min_size=min_size,
            max_size=max_size,
            timeout=connect_timeout_s,
            configure=self.statements.configure,
            # A connection that broke while it lay idle (a server restarted) is replaced before anyone gets it.
            check=AsyncConnectionPool.check_connection,
            open=False,
            name=application_name,
        )

    async def open(self) -> None:
        """Connects.

        Raises:
            DatabaseUnavailableError: The database can't be reached in time.
        """
        try:
            # One plain attempt first: the pool retries in silence and would only tell that time is up.
            await (await psycopg.AsyncConnection.connect(self.url, **self._arguments)).close()
            await self._pool.open(wait=True, timeout=self._connect_timeout_s)
        except (psycopg.Error, PoolTimeout) as error:
            await self._pool.close()
            reason = mask_text(str(error))
            raise DatabaseUnavailableError(
                f"can't connect: {reason}", where="database", todo="check DATABASE_URL"
            ) from error

    async def close(self) -> None:
        """Closes all connections; those in use end when they are given back."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection in autocommit mode.

        Raises:
            DatabaseUnavailableError: None was free in time, or this one broke; what ran on it may be undone.
            RejectedError: A value is out of its column's range, or no value of its type.
        """
        try:
            async with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise DatabaseUnavailableError("no connection in time", where="database") from error
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(mask_text(str(error)), where="database") from error
        except psycopg.DataError as error:
            raise RejectedError(mask_text(str(error)), where="database") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One connection inside a transaction: committed at the end, rolled back when an exception leaves it."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[Connection]:
        """A connection of its own in autocommit mode, for upkeep: what it is asked may take hours, on one core.

        Raises:
            DatabaseUnavailableError: It can't be had, or the database did not do what it was asked.
        """
        options = f"-c statement_timeout=0 -c timezone=UTC {UPKEEP}"
        try:
            async with await psycopg.AsyncConnection.connect(
                self.url, **{**self._arguments, "options": options}
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise DatabaseUnavailableError(mask_text(str(error)), where="database") from error

    async def fetch(self, query: bytes, parameters: Parameters = None, *, row: type[Row]) -> list[Row]:
        """All rows of a statement, its columns given to `row` by name."""
        async with self.connection() as connection, connection.cursor(row_factory=class_row(row)) as cursor:
            return await (await cursor.execute(query, parameters)).fetchall()

    async def fetch_one(self, query: bytes, parameters: Parameters = None, *, row: type[Row]) -> Row | None:
        """The first row of a statement, or None."""
        async with self.connection() as connection, connection.cursor(row_factory=class_row(row)) as cursor:
            return await (await cursor.execute(query, parameters)).fetchone()

    async def fetch_named(self, statement: Named, parameters: Mapping[str, Any], *, row: type[Row]) -> list[Row]:
        """All rows of a named statement; sent as it is where it is not prepared."""
        if self.statements.is_prepared(statement):
            try:
                # EXECUTE takes no values apart: psycopg quotes them on this side.
                async with (
                    self.connection() as connection,
                    psycopg.AsyncClientCursor(connection, row_factory=class_row(row)) as cursor,
                ):
                    return await (await cursor.execute(statement.execute, parameters)).fetchall()
            except (psycopg.errors.InvalidSqlStatementName, psycopg.errors.FeatureNotSupported):
                # A pooler gave us another session, or a newer node's migration has changed what it returns.
                self.statements.lost(statement)
        return await self.fetch(statement.text, parameters, row=row)

    async def execute(self, query: bytes, parameters: Parameters = None) -> int:
        """Runs a statement; returns the number of rows it touched."""
        async with self.connection() as connection:
            return (await connection.execute(query, parameters)).rowcount

    async def stream(
        self,
        query: bytes,
        parameters: Parameters = None,
        *,
        row: type[Row],
        batch: int,
        first: bytes,
        first_values: Parameters,
    ) -> AsyncGenerator[list[Row], None]:
        """The rows of a statement, `batch` at a time, by a cursor of the server: neither end holds them all.

        It runs in a transaction of its own, after the statement `first`. To be closed (contextlib.aclosing) when not
        read to its end: the connection is held until then.

        Raises:
            DatabaseUnavailableError: it can't be begun, or breaks on the way.
        """
        async with self.transaction() as connection:
            await connection.execute(first, first_values)
            async with connection.cursor(name="stream", row_factory=class_row(row)) as cursor:
                await cursor.execute(query, parameters)
                while rows := await cursor.fetchmany(batch):
                    yield rows

    async def resize(self, min_size: int, max_size: int) -> None:
        """Changes the size of the pool."""
        await self._pool.resize(min_size, max_size)

    def counters(self) -> dict[str, int]:
        """`db_open_conns` and `db_in_use_conns` now, `db_wait_count` since the start."""
        stats = self._pool.get_stats()
        size, free = stats.get("pool_size", 0), stats.get("pool_available", 0)
        return {
            "db_open_conns": size,
            "db_in_use_conns": size - free,
            "db_wait_count": stats.get("requests_queued", 0),
        }

    async def lead(self, key: int) -> AsyncGenerator[bool, None]:
        """Whether this process leads among all that ask for `key`: told at once and at every change, for ever.

        At most one of them leads: it holds an advisory lock on a connection of its own. Who has lost that is told so
        within seconds, but what it does in between may coincide with what its successor does.
        """
        told: bool | None = None
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self.url, **self._arguments) as connection:
                    while True:
                        statement = "still_lead" if told else "try_lead"
                        row = await (await connection.execute(_QUERIES[statement], {"key": key})).fetchone()
                        if told != (told := bool(row and row[0])):
                            yield told
                        await asyncio.sleep(LEAD_S)
            except psycopg.OperationalError as error:
                if told != (told := False):
                    yield False
                _log.warning("can't ask who leads", key=key, error=mask_text(str(error)))
                await asyncio.sleep(LEAD_S)

    async def listen(self, *channels: str, rng: Random | None = None) -> AsyncGenerator[Notice | None, None]:
        """Notifications on `channels`, for ever, over a connection of its own.

        Yields None each time listening has begun, also after a connection was lost: what was notified before that
        may have been missed, so the caller reads everything anew. Lost connections are made again with backoff.
        """
        backoff = Backoff(rng or Random(), first_s=0.5, limit_s=10)  # noqa: S311 - jitter, no secret
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self.url, **self._arguments) as connection:
                    for channel in channels:
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    backoff.reset()
                    yield None
                    async for notice in connection.notifies():
                        yield Notice(channel=notice.channel, payload=notice.payload)
            except psycopg.OperationalError as error:
                delay_s = backoff.next_s()
                reason = mask_text(str(error))
                _log.warning("lost the connection that listens", channels=channels, error=reason, retry_s=delay_s)
                await asyncio.sleep(delay_s)


async def rows_of(connection: Connection, query: bytes, parameters: Parameters = None, *, row: type[Row]) -> list[Row]:
    """All rows of a statement in the transaction of `connection`, its columns given to `row` by name."""
    async with connection.cursor(row_factory=class_row(row)) as cursor:
        return await (await cursor.execute(query, parameters)).fetchall()


set_json_dumps(msgspec.json.encode)
set_json_loads(msgspec.json.decode)
