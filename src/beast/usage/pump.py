"""Takes batches from the spool to the sink, and lets them go when the sink has acknowledged them."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random

import msgspec
import structlog

from beast._fast import sum_usage
from beast.base.errors import BeastError
from beast.base.retry import Backoff
from beast.cluster.types import Parameters
from beast.usage.codec import unpack
from beast.usage.consumer import GROUP_RECORDS
from beast.usage.ledger import Ledger
from beast.usage.sink import Sink
from beast.usage.spool import Spool
from beast.usage.store import UsageStore
from beast.usage.types import Batch, Identity, MalformedError

BATCHES = 256
"""At most so many are put at once."""
LONGEST_S = 60.0
"""A sink that is slow for a single batch is given more time, up to this."""
CONFIRM_S = 1.0
REMEMBERED = 100_000
"""So many batches on their way through a queue are remembered until they are in the tables."""
ASKED = 1000

Sums = list[tuple[int, int, int, int]]


class Travelling(msgspec.Struct, frozen=True, eq=False):
    """A batch that a queue has, and the tables don't yet."""

    identity: Identity
    last: int
    sums: Sums


log = structlog.get_logger(__name__)


class Pump:
    """Puts batches until it is stopped.

    Args:
        spool: Where they are.
        sink: Where they go.
        ledger: Told what has arrived.
        store: Asked what has arrived, when acknowledged does not mean booked.
        report: Told what is wrong with the sink, or None when it is well again.
        count: Adds to one of the engine's counters.
    """

    def __init__(
        self,
        spool: Spool,
        sink: Sink,
        ledger: Ledger,
        store: UsageStore | None = None,
        *,
        report: Callable[[str | None], None],
        count: Callable[[str, int], None],
    ) -> None:
        self.booking = asyncio.Lock()
        """Held while answers are on their way into the rows."""
        self._spool = spool
        self._sink = sink
        self._ledger = ledger
        self._store = store
        self._report = report
        self._count = count
        self._travelling: deque[Travelling] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._records = GROUP_RECORDS
        self._patience = 1
        self._tasks: list[asyncio.Task[None]] = []
        self.tune(Parameters())

    def tune(self, parameters: Parameters) -> None:
        """Takes the parameter of the sink's time, from now on."""
        self._timeout_s = parameters.sqs_timeout_ms / 1e3

    def start(self) -> None:
        """Starts pumping on the running loop."""
        self._tasks = [asyncio.create_task(self._run(), name="usage-pump")]
        if not self._sink.books and self._store is not None:
            self._tasks.append(asyncio.create_task(self._confirm(), name="usage-confirm"))

    def wake(self) -> None:
        """There is something in the spool."""
        self._idle.clear()
        self._wake.set()

    async def emptied(self, within_s: float) -> bool:
        """Waits until nothing is left in the spool, for so long at most; False when something is."""
        self.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        return self._idle.is_set()

    async def stop(self, within_s: float) -> bool:
        """Puts what is left, for so long at most; False: something is left in the spool, for the next start."""
        emptied = await self.emptied(within_s)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        return emptied

    async def _run(self) -> None:
        backoff = Backoff(Random(), first_s=0.1, limit_s=5)  # noqa: S311 - jitter, no secret
        while True:
            batches = await asyncio.to_thread(self._spool.take, batches=BATCHES, records=self._records)
            if not batches:
                self._idle.set()
                await self._wake.wait()
                self._wake.clear()
            elif await self._put(batches):
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next_s())

    async def _put(self, batches: Sequence[Batch]) -> bool:
        """Whether the sink has taken all of them; what it has not is in the spool again."""
        left = {batch.identity: batch for batch in batches}
        sums = await asyncio.to_thread(lambda: {batch.identity: sums_of_batch(batch) for batch in batches})
        self._count("bg_work_submitted", 1)
        try:
            async with self._while_booking(), self._in_time():
                acknowledged = await self._sink.put(batches)
                self._settle([(left.pop(identity), sums[identity]) for identity in acknowledged])
            await asyncio.to_thread(self._spool.acknowledge, acknowledged)
        except TimeoutError:
            self._report("usage waits in the spool: the sink took too long")
            self._ease(batches)
        except BeastError as error:
            self._report(f"usage waits in the spool: {error}")
        except Exception as error:
            log.exception("usage.sink_failed")
            self._report(f"usage waits in the spool: {error!r}")
        else:
            if left:
                self._report(f"usage waits in the spool: the sink did not take {len(left)} of {len(batches)} batches")
            else:
                self._count("bg_work_completed", 1)
                self._records, self._patience = min(GROUP_RECORDS, self._records * 2), 1
                self._report(None)
        finally:
            self._spool.give_back(left.values())
        return not left

    def _while_booking(self) -> AbstractAsyncContextManager[object]:
        """A queue books nothing while it takes: nobody needs to wait for it."""
        return self.booking if self._sink.books else contextlib.nullcontext()

    def _in_time(self) -> asyncio.Timeout:
        return asyncio.timeout(None if self._sink.timed else self._timeout_s * self._patience)

    def _settle(self, arrived: Iterable[tuple[Batch, Sums]]) -> None:
        for batch, sums in arrived:
            if self._sink.books:
                self._book(Travelling(batch.identity, batch.last, sums))
            else:
                self._travelling.append(Travelling(batch.identity, batch.last, sums))

    def _book(self, arrived: Travelling) -> None:
        self._ledger.acknowledge(arrived.identity, arrived.last)
        self._ledger.settle(arrived.sums)

    def _ease(self, batches: Sequence[Batch]) -> None:
        """Less at once; and when it can't be less, more time."""
        if len(batches) > 1:
            self._records = max(1, self._records // 2)
        elif self._timeout_s * self._patience < LONGEST_S:
            self._patience *= 2

    async def _confirm(self) -> None:
        """What a queue has taken is owed until it is in the tables."""
        while True:
            await asyncio.sleep(CONFIRM_S)
            try:
                while await self.confirm() == ASKED:
                    pass
            except BeastError as error:
                log.warning("usage.unconfirmed", error=str(error))

    async def confirm(self) -> int:
        """Settles what has reached the tables, of the oldest on their way; returns how many batches that was.

        Raises:
            DatabaseUnavailableError: Nothing was settled.
        """
        assert self._store is not None
        while len(self._travelling) > REMEMBERED:
            overdue = self._travelling.popleft()
            log.error("usage.overdue", batch=str(overdue.identity), hint="is a consumer running?")
            self._book(overdue)
        asked = [self._travelling[at] for at in range(min(ASKED, len(self._travelling)))]
        async with self.booking:
            known = await self._store.known([(each.identity, each.last) for each in asked])
            for each in asked:
                if each.identity in known:
                    self._travelling.remove(each)
                    self._book(each)
        return len(known)


def sums_of_batch(batch: Batch) -> Sums:
    """What its records come to; nothing when it can't be read, which its consumer will say."""
    try:
        return sum_usage(unpack(batch))
    except MalformedError:
        return []
