"""The sink that is a queue: batches become messages, and a call takes as many of them as it can."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec
import structlog

from beast.base.errors import BeastError
from beast.cluster.types import Parameters
from beast.storage.database import Database
from beast.usage.codec import halves, seal
from beast.usage.consumer import bury
from beast.usage.sqs import CALLS_AT_ONCE, ENTRIES, MESSAGE_BYTES, Failure, QueueError, SqsQueue
from beast.usage.types import BATCH_RECORDS, Batch, Identity, MalformedError

RECORD_ON_THE_WAY = 24
"""Bytes of a message for each record, amply, Base64 and its share of the names included: usually 6 to 10. A batch that
is longer all the same travels in parts."""

log = structlog.get_logger(__name__)


class Letter(msgspec.Struct, frozen=True):
    """A message to be."""

    batch: Batch
    """The whole one, or a part of it."""
    whole: Identity
    body: bytes


class SqsSink:
    """Sends what it is given. A batch is acknowledged when the queue has all of it.

    Args:
        queue: Where to.
        database: An open database, for what the queue will never take.
        dead: Called with the reason when there was such a batch.
    """

    books = False
    timed = True

    def __init__(self, queue: SqsQueue, database: Database, dead: Callable[[str], None]) -> None:
        self.messages = 0
        """As many the queue has taken."""
        self._queue = queue
        self._database = database
        self._dead = dead
        self._entries = ENTRIES
        self._call_bytes = MESSAGE_BYTES
        self._limit_known = False
        self._at_once = asyncio.Semaphore(CALLS_AT_ONCE)

    @property
    def longest(self) -> int:
        """See Sink."""
        return min(BATCH_RECORDS, max(1, self._queue.limit // RECORD_ON_THE_WAY))

    def tune(self, parameters: Parameters) -> None:
        """Takes the parameters of calls, from the next one on."""
        self._entries = parameters.sqs_batch_size
        self._queue.tune(parameters.sqs_timeout_ms / 1e3)

    async def open(self) -> None:
        """Asks how long a message may be. While the queue is away, that is what every queue takes."""
        try:
            await self._learn_limit()
        except QueueError as error:
            log.warning("usage.queue_away", error=str(error))

    async def put(self, batches: Sequence[Batch]) -> Sequence[Identity]:
        """See Sink. A call that fails costs only what was in it."""
        if not self._limit_known:
            await self._learn_limit()
        limit = self._queue.limit
        letters = await asyncio.to_thread(lambda: [each for batch in batches for each in letters_of(batch, limit)])
        calls = packed(letters, entries=self._entries, size=self._call_bytes)
        told = await asyncio.gather(*map(self._send, calls))
        left = Counter(letter.whole for letter in letters)
        left.subtract(letter.whole for taken, _ in told for letter in taken)
        done = [batch.identity for batch in batches if not left[batch.identity]]
        errors = [error for _, error in told if error is not None]
        if errors and not done:
            raise errors[0]
        for error in errors:
            log.warning("usage.not_sent", error=str(error))
        return done

    async def _learn_limit(self) -> None:
        try:
            await self._queue.read_limit()
        except QueueError as error:
            if "Denied" not in error.code:
                raise
            log.warning("usage.queue_limit_unknown", assumed=self._queue.limit, hint="allow sqs:GetQueueAttributes")
        self._limit_known = True

    async def _send(self, call: Sequence[Letter]) -> tuple[Sequence[Letter], BeastError | None]:
        """What need not be sent again, and what went wrong with all of it."""
        async with self._at_once:
            try:
                if len(call[0].body) > self._queue.limit:
                    await self._bury(call[0], "can't be cut to a length that the queue takes")
                    return call, None
                return await self._send_call(call), None
            except BeastError as error:
                return [], error

    async def _send_call(self, call: Sequence[Letter]) -> list[Letter]:
        try:
            fates = await self._queue.send([letter.body.decode() for letter in call])
        except QueueError as error:
            if "BatchRequestTooLong" not in error.code:
                raise
            if len(call) > 1:
                # A region where less fits into a call than the constant says.
                self._call_bytes //= 2
                raise
            fates = [Failure(error.code, error.what, sender_fault=True)]
        self.messages += fates.count(None)
        taken = []
        for letter, fate in zip(call, fates, strict=True):
            if fate is not None and not await self._is_dead(letter, fate):
                log.warning("usage.not_sent", batch=str(letter.batch.identity), error=f"{fate.code}: {fate.message}")
                continue
            taken.append(letter)
        return taken

    async def _is_dead(self, letter: Letter, fate: Failure) -> bool:
        """Buries it if the queue will never take it. What has only become too long is sent again, in parts."""
        if not fate.final:
            return False
        await self._learn_limit()
        if len(letter.body) > self._queue.limit:
            return False
        await self._bury(letter, f"was refused by the queue: {fate.code}: {fate.message}")
        return True

    async def _bury(self, letter: Letter, why: str) -> None:
        await bury(self._database, letter.batch, why)
        self._dead(f"{letter.batch.identity} {why}")


def letters_of(batch: Batch, limit: int, whole: Identity | None = None) -> list[Letter]:
    """The batch as one message, or in parts that are no longer than `limit` bytes: always the same parts.

    What can't be cut is longer.
    """
    whole = whole or batch.identity
    body = seal(batch)
    if len(body) > limit and batch.records > 1:
        try:
            return [letter for half in halves(batch) for letter in letters_of(half, limit, whole)]
        except MalformedError as error:
            log.exception("usage.batch_unreadable", error=str(error))
    return [Letter(batch, whole, body)]


def packed(letters: Sequence[Letter], *, entries: int, size: int) -> Iterator[list[Letter]]:
    """Letters by call, in their order: `entries` at most, and `size` bytes unless a single one is longer."""
    call: list[Letter] = []
    held = 0
    for letter in letters:
        if call and (len(call) >= entries or held + len(letter.body) > size):
            yield call
            call, held = [], 0
        call.append(letter)
        held += len(letter.body)
    if call:
        yield call
