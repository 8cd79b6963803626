"""beast consume: the consumer of usage as a process of its own."""

import asyncio
import signal
import sys
from pathlib import Path

from cyclopts import App

from beast.base.clock import SystemClock
from beast.base.config_sources import load_config
from beast.base.log import configure_logging
from beast.storage.opening import open_database
from beast.usage.consuming import Consuming
from beast.usage.folder import FolderQueue

app = App(
    name="consume",
    help="Book the usage that waits in a queue.",
    help_epilogue="""Examples:
  beast consume --folder /var/lib/beast/queue
  beast consume --folder queue --until-empty""",
)


@app.default
def consume(*, folder: Path, until_empty: bool = False, config: Path | None = None) -> None:
    """Book the usage that waits in a queue, until SIGINT or SIGTERM; several may run at once.

    Args:
        folder: The queue: a folder of envelopes, see usage_queue.
        until_empty: Stop when nothing is left.
        config: TOML file; else BEAST_CONFIG.
    """
    settings = load_config(file=config).config
    configure_logging(settings.log_level, settings.log_format)

    async def run() -> Consuming:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with open_database(settings, application_name="beast-consume", max_size=2) as database:
            consuming = Consuming(FolderQueue(folder), database, SystemClock())
            await consuming.run(stop, until_empty=until_empty)
        return consuming

    done = asyncio.run(run())
    sys.stdout.write(f"{done.booked} batches booked, {done.repeated} repeated, {done.dead} dead letters\n")
