"""PostgreSQL's own shell, from the wheel."""

import asyncio
import os
import signal
from collections.abc import Sequence

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from beast.base.errors import BeastError
from beast.storage.embedded_layout import programs_folder


async def run_psql(url: str, arguments: Sequence[str]) -> int:
    """Runs psql on the database and on this terminal; returns its exit code.

    Raises:
        BeastError: It can't be run.
    """
    info = conninfo_to_dict(url)
    # Not as an argument: those can be seen by every user of the machine.
    environment = os.environ | {"PGPASSWORD": str(info.pop("password", ""))}
    program = programs_folder() / "psql"
    loop = asyncio.get_running_loop()
    # Ctrl-C is for psql, which goes on after it.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        target = make_conninfo("", **info)
        process = await asyncio.create_subprocess_exec(program, "-d", target, *arguments, env=environment)
        return await process.wait()
    except OSError as error:
        raise BeastError(f"can't be run: {error.strerror}", where=str(program)) from error
    finally:
        loop.remove_signal_handler(signal.SIGINT)
