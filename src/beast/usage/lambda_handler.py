"""The consumer as a function of AWS Lambda: `beast.usage.lambda_handler.handler`, on the queue of usage.

It answers with the messages that were not booked (ReportBatchItemFailures): only they come again. What can't be booked,
ever, is a dead letter in the database like anywhere else, and does not come again. AWS's client is not needed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import structlog

from beast.base.clock import SystemClock
from beast.base.config import Config
from beast.base.config_sources import load_config
from beast.base.errors import BeastError, UsageError
from beast.base.log import configure_logging
from beast.storage.database import Database
from beast.usage.consumer import consume

AT_ONCE = 10
"""Messages that are booked together, and told apart from the others when that fails."""
MARGIN_S = 2.0
"""Before the function's time is up, what is under way is undone, so that the answer can still be given."""

log = structlog.get_logger(__name__)


class Context(Protocol):
    """What is needed of Lambda's."""

    def get_remaining_time_in_millis(self) -> int:
        """Until the function is stopped."""


class Booker:
    """Books messages, and keeps its connection from one call to the next.

    Args:
        config: Names the database, whose tables a server has made.
    """

    def __init__(self, config: Config) -> None:
        if not config.database_url:
            raise UsageError("the database is not named", where="DATABASE_URL", todo="set it, or BEAST_SECRET_ID")
        self._url = config.database_url
        self._runner = asyncio.Runner()
        self._database: Database | None = None

    def book(self, messages: Sequence[Mapping[str, Any]], left_s: float) -> list[str]:
        """The ids of those that could not be booked within `left_s`."""
        return self._runner.run(self._book(messages, left_s))

    def close(self) -> None:
        """Ends the connection."""
        if self._database is not None:
            self._runner.run(self._database.close())
        self._runner.close()

    async def _book(self, messages: Sequence[Mapping[str, Any]], left_s: float) -> list[str]:
        left = [str(message["messageId"]) for message in messages]
        try:
            async with asyncio.timeout(max(left_s - MARGIN_S, 0)):
                database = await self._open()
                for at in range(0, len(messages), AT_ONCE):
                    group = messages[at : at + AT_ONCE]
                    bodies = [str(message["body"]).encode("utf-8", "surrogatepass") for message in group]
                    await consume(database, bodies, SystemClock())
                    del left[: len(group)]
        except TimeoutError:
            log.warning("usage.not_booked", messages=len(left), error="no time was left")
        except BeastError as error:
            log.warning("usage.not_booked", messages=len(left), error=str(error))
        return left

    async def _open(self) -> Database:
        if self._database is None:
            database = Database(self._url, max_size=1, application_name="beast-lambda")
            await database.open()
            self._database = database
        return self._database


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """What Lambda calls.

    Args:
        event: `Records`, each with `messageId` and `body`.
        context: Tells how much time there is.

    Raises:
        BeastError: The settings are wrong: all messages come again.
    """
    left = _booker().book(event["Records"], context.get_remaining_time_in_millis() / 1e3)
    return {"batchItemFailures": [{"itemIdentifier": number} for number in left]}


@lru_cache(maxsize=1)
def _booker() -> Booker:
    """The one of this process."""
    config = load_config().config
    configure_logging(config.log_level, "json")
    return Booker(config)
