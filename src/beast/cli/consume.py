"""beast consume: the consumer of usage as a process of its own."""

import asyncio
import signal
import sys
from pathlib import Path

from cyclopts import App

from beast.base.clock import SystemClock
from beast.base.config import Config
from beast.base.config_sources import load_config
from beast.base.errors import UsageError
from beast.base.log import configure_logging
from beast.storage.opening import open_database
from beast.usage.consuming import Consuming
from beast.usage.queues import FOLDER, queue_of
from beast.usage.sink import Source
from beast.usage.sqs import SqsQueue
from beast.usage.sqs_source import SqsSource

app = App(
    name="consume",
    help="Book the usage that waits in a queue.",
    help_epilogue="""Examples:
  beast consume
  beast consume --queue-url https://sqs.eu-west-1.amazonaws.com/123456789012/usage
  beast consume --folder /var/lib/beast/queue
  beast consume --folder queue --until-empty""",
)


@app.default
def consume(
    *,
    folder: Path | None = None,
    queue_url: str | None = None,
    until_empty: bool = False,
    config: Path | None = None,
) -> None:
    """Book the usage that waits in a queue, until SIGINT or SIGTERM; several may run at once.

    The queue is the one of the settings usage_queue and usage_queue_url, unless another is given.

    Args:
        folder: A folder of envelopes, see usage_queue.
        queue_url: A queue of Amazon SQS, see usage_queue_url.
        until_empty: Stop when nothing is left.
        config: TOML file; else BEAST_CONFIG.
    """
    given: dict[str, object] = {}
    if folder is not None or queue_url is not None:
        given = {"usage_queue": f"{FOLDER}{folder.absolute()}" if folder else "", "usage_queue_url": queue_url or ""}
    settings = load_config(given, file=config).config
    configure_logging(settings.log_level, settings.log_format)
    source = _source(settings)

    async def run() -> Consuming:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with open_database(settings, application_name="beast-consume", max_size=2) as database:
            consuming = Consuming(source, database, SystemClock())
            await consuming.run(stop, until_empty=until_empty)
        return consuming

    done = asyncio.run(run())
    sys.stdout.write(f"{done.booked} batches booked, {done.repeated} repeated, {done.dead} dead letters\n")


def _source(settings: Config) -> Source:
    queue = queue_of(settings)
    if queue is None:
        raise UsageError("no queue is named", todo="give --queue-url or --folder, or set usage_queue_url")
    return SqsSource(queue) if isinstance(queue, SqsQueue) else queue
