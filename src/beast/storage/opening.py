"""One way to the database for the server and for every command."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

from beast.base.config import Config
from beast.storage.database import Database
from beast.storage.embedded import EmbeddedPostgres
from beast.storage.migrate import migrate
from beast.storage.statements import Named, Statements


@asynccontextmanager
async def database_url(config: Config) -> AsyncIterator[str]:
    """The URL of the configured database; else of the home's embedded one, which runs at least until the end.

    Raises:
        BeastError: The embedded server can't be started.
    """
    if config.database_url:
        yield config.database_url
        return
    server = EmbeddedPostgres(config.home)
    await asyncio.to_thread(server.start)
    guard = asyncio.create_task(server.keep_running(Random()), name="embedded postgres")  # noqa: S311 - jitter
    try:
        yield await asyncio.to_thread(server.url)
    finally:
        guard.cancel()
        with suppress(asyncio.CancelledError):
            await guard
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def open_database(
    config: Config, *, application_name: str = "beast", max_size: int = 12, named: Sequence[Named] = ()
) -> AsyncIterator[Database]:
    """A connected Database whose tables are up to date.

    Args:
        config: Names the database, or the home that keeps one.
        application_name: How its connections are named in pg_stat_activity.
        max_size: Connections at most.
        named: Statements to prepare on each connection.

    Raises:
        BeastError: It can't be started, reached or migrated.
    """
    async with database_url(config) as url:
        await asyncio.to_thread(migrate, url)
        pool = Database(url, application_name=application_name, max_size=max_size, statements=Statements(*named))
        async with pool as database:
            yield database
