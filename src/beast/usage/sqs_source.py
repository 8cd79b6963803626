"""The consumer's end of a queue of Amazon's: long polls, and messages hidden from others while they are held."""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from beast.usage.sink import Depth, Message
from beast.usage.sqs import ENTRIES, QueueError, SqsQueue

WAIT_S = 2
"""How long a poll waits for the first message: whoever stops the consumer waits for it, so that what it brings is not
hidden from everyone for nothing."""
HIDDEN_S = 60
"""So long messages stay hidden when their consumer has died."""

log = structlog.get_logger(__name__)


class SqsSource:
    """Receives from one queue. While messages are neither acknowledged nor released, they are kept hidden.

    Args:
        queue: Where from.
        wait_s: See WAIT_S.
        hidden_s: See HIDDEN_S.
    """

    def __init__(self, queue: SqsQueue, *, wait_s: int = WAIT_S, hidden_s: int = HIDDEN_S) -> None:
        self._queue = queue
        self._wait_s = wait_s
        self._hidden_s = hidden_s
        self._held: set[str] = set()
        self._keeper: asyncio.Task[None] | None = None

    async def receive(self) -> Sequence[Message]:
        """See Source."""
        messages = await self._queue.receive(wait_s=self._wait_s, hidden_s=self._hidden_s)
        self._held.update(message.receipt for message in messages)
        if self._held and self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="usage-queue-keeper")
        return messages

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """See Source."""
        for receipts in _calls(message.receipt for message in messages):
            for fate in await self._queue.delete(receipts):
                if fate is not None:
                    # It comes again, and is found to be a repeat.
                    log.warning("usage.not_deleted", error=f"{fate.code}: {fate.message}")
            self._let_go(receipts)

    async def release(self, messages: Sequence[Message]) -> None:
        """See Source."""
        for receipts in _calls(message.receipt for message in messages):
            self._let_go(receipts)
            try:
                await self._queue.hide(receipts, 0)
            except QueueError as error:
                log.warning("usage.not_released", error=str(error))

    async def depth(self) -> Depth:
        """See Depth."""
        return await self._queue.depth()

    def _let_go(self, receipts: Sequence[str]) -> None:
        self._held.difference_update(receipts)
        if not self._held and self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None

    async def _keep(self) -> None:
        """Hides what is held anew, long before its time is up."""
        while True:
            await asyncio.sleep(self._hidden_s / 3)
            for receipts in _calls(sorted(self._held)):
                try:
                    await self._queue.hide(receipts, self._hidden_s)
                except QueueError as error:
                    log.warning("usage.not_hidden", error=str(error))


def _calls(receipts: Iterable[str]) -> list[list[str]]:
    """By call."""
    held = list(receipts)
    return [held[at : at + ENTRIES] for at in range(0, len(held), ENTRIES)]
