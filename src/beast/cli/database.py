"""How commands about rows reach the database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from beast.base.config_sources import load_config
from beast.base.log import configure_logging
from beast.storage.database import Database
from beast.storage.opening import open_database

_Result = TypeVar("_Result")


def with_database(work: Callable[[Database], Awaitable[_Result]]) -> _Result:
    """Runs `work` on the configured database. Raises DatabaseUnavailableError when it can't be reached."""
    config = load_config().config
    configure_logging("warning", config.log_format)

    async def run() -> _Result:
        async with open_database(config, application_name="beast-feeds", max_size=2) as database:
            return await work(database)

    return asyncio.run(run())
