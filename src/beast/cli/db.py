"""beast db: the database."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from beast.base.config import Config
from beast.base.config_sources import load_config
from beast.base.log import configure_logging
from beast.storage.migrate import migrate
from beast.storage.opening import database_url
from beast.storage.psql import run_psql

app = App(
    name="db",
    help="Migrate the database, or get into it.",
    help_epilogue="""Examples:
  beast db migrate
  beast db psql -c "SELECT count(*) FROM api_keys"
  psql "$(beast db url)"      (while a server runs on this home)""",
)


@app.command(name="migrate")
def migrate_now(*, config: Path | None = None) -> None:
    """Bring the tables up to date. Several nodes may do so at once.

    Args:
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        async with database_url(_config(config)) as url:
            for name in await asyncio.to_thread(migrate, url):
                sys.stdout.write(f"applied {name}\n")
            sys.stdout.write("the tables are up to date\n")

    asyncio.run(work())


@app.command
def url(*, config: Path | None = None) -> None:
    """Print the connection URL, password included.

    The embedded database answers there only while a server (or another command) uses it.

    Args:
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        async with database_url(_config(config)) as found:
            sys.stdout.write(f"{found}\n")

    asyncio.run(work())


@app.command
def psql(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)], config: Path | None = None) -> int:
    """Open psql on the database.

    Args:
        arguments: Passed on to psql.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> int:
        async with database_url(_config(config)) as found:
            return await run_psql(found, arguments)

    return asyncio.run(work())


def _config(file: Path | None) -> Config:
    config = load_config(file=file).config
    configure_logging("warning", config.log_format)
    return config
