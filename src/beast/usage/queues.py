"""Which queue it is that the settings name."""

from pathlib import Path

from beast.base.config import Config
from beast.base.errors import UsageError
from beast.usage.folder import FolderQueue
from beast.usage.sqs import SqsQueue

FOLDER = "folder:"

AnyQueue = FolderQueue | SqsQueue


def queue_of(config: Config) -> AnyQueue | None:
    """The queue between the servers and their consumers; None: usage goes straight into PostgreSQL.

    Raises:
        UsageError: Two are named.
    """
    if config.usage_queue and config.usage_queue_url:
        raise UsageError("usage can't go through both", where="usage_queue, usage_queue_url", todo="unset one of them")
    if config.usage_queue_url:
        return SqsQueue(config.usage_queue_url)
    return FolderQueue(Path(config.usage_queue.removeprefix(FOLDER))) if config.usage_queue else None
