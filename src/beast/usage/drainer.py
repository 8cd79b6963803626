"""Empties the workers' usage rings in time, into the spool, to the last record.

A record's place in its ring is given back only when the record is in the spool: until then, it is the ring's file that
outlives a killed process. A disk that is slow to sync holds up nobody but the batches that wait for it: draining goes
on meanwhile, on threads of its own.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import msgspec
import structlog

from beast._fast import sum_usage, usage_runs
from beast.cluster.types import Parameters
from beast.usage.codec import pack
from beast.usage.ledger import Ledger
from beast.usage.names import Life
from beast.usage.records import runs_of
from beast.usage.spool import Spool, SpoolFullError
from beast.usage.types import RECORD_BYTES, Name

DRAIN_S = 0.05
"""The longest nap between two looks at the rings. One that is half full ends it at once."""
BUSY_RECORDS = 1 << 13
"""More than this in one turn: the rings fill quickly, so the next turn comes at once."""
FULL_S = 0.5
"""A spool that was full is tried again so much later."""

log = structlog.get_logger(__name__)

_Result = TypeVar("_Result")


class Rings(Protocol):
    """What is needed of beast._fast.UsageRings."""

    def __len__(self) -> int:
        """How many lanes there are."""

    def read(self, lane: int) -> bytes:
        """Records that were not read before."""

    def release(self, lane: int, records: int) -> None:
        """The oldest so many of those read are safe elsewhere."""


class Chunk(msgspec.Struct, frozen=True):
    """Records on their way from a ring to the spool."""

    lane: int
    records: bytes
    names: Mapping[int, Name]


class Drainer:
    """Drains and spools until it is stopped.

    Args:
        rings: The engine's.
        wake_fd: An eventfd that tells when one of them is half full.
        life: Who makes these records.
        spool: Where they go.
        ledger: Told of every record.
        names: What numbers mean at this moment.
        flushed: Called when batches have become safe on the disk.
        report: Told what is wrong with the spool, or None when it is well again.
        count: Adds to one of the engine's counters.
        longest: Records that a batch may hold.
    """

    def __init__(
        self,
        rings: Rings,
        *,
        wake_fd: int,
        life: Life,
        spool: Spool,
        ledger: Ledger,
        names: Callable[[], Mapping[int, Name]],
        flushed: Callable[[], None],
        report: Callable[[str | None], None],
        count: Callable[[str, int], None],
        longest: int,
    ) -> None:
        self._rings = rings
        self._wake_fd = wake_fd
        self._life = life
        self._spool = spool
        self._ledger = ledger
        self._names = names
        self._flushed = flushed
        self._report = report
        self._count = count
        self._longest = longest
        self._held: deque[Chunk] = deque()
        self._unsynced = 0
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._half_full = asyncio.Event()
        self._spooling = asyncio.Lock()
        self._syncing = asyncio.Lock()
        self._sync_task: asyncio.Task[None] | None = None
        # One that writes and one that syncs. The loop's own may all be waiting for the disk.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="usage-spool")
        self.tune(Parameters())

    def tune(self, parameters: Parameters) -> None:
        """Takes the parameters of flushing and of the spool's size, from now on."""
        self._flush_s = parameters.sqs_flush_ms / 1e3
        self._buffer_size = parameters.sqs_buffer_size
        self._spool.max_bytes = parameters.usage_spool_max_bytes

    def start(self) -> None:
        """Starts draining on the running loop."""
        asyncio.get_running_loop().add_reader(self._wake_fd, self._wake)
        self._task = asyncio.create_task(self._run(), name="usage-drainer")

    async def stop(self) -> bool:
        """Spools what the stopped workers have left; False when there was no room for it: then it is in the rings."""
        self._stopping = True
        if self._task is not None:
            asyncio.get_running_loop().remove_reader(self._wake_fd)
            self._half_full.set()
            await asyncio.wait({self._task})
        while self.drain():
            pass
        flushed = await self.flush()
        if self._sync_task is not None:
            await asyncio.wait({self._sync_task})
        self._threads.shutdown(wait=False)
        return flushed

    def drain(self) -> int:
        """Takes what is in the rings now; returns how many records it was."""
        taken = 0
        for lane in range(len(self._rings)):
            records = self._rings.read(lane)
            if records:
                taken += len(records) // RECORD_BYTES
                self._held.append(Chunk(lane, records, self._names()))
                self._note(records)
        if taken:
            self._count("batch_rows_queued", taken)
        return taken

    async def spool(self) -> bool:
        """Writes what was taken into the spool and gives the rings their places back; False when there is no room."""
        async with self._spooling:
            chunks, self._held = self._held, deque()
            if not chunks:
                return True
            try:
                written = await self._on_thread(lambda: self._write(chunks))
            except SpoolFullError as error:
                self._held.extendleft(reversed(chunks))
                self._count("usage_spool_full", 1)
                self._report(f"the spool {error.what}; usage waits in the rings, and is lost when they are full")
                return False
            self._unsynced += written
            for chunk in chunks:
                self._rings.release(chunk.lane, len(chunk.records) // RECORD_BYTES)
            return True

    async def flush(self) -> bool:
        """Spools, and makes all that is in the spool the disk's; False when there was no room or the disk failed."""
        room = await self.spool()
        synced = await self._sync()
        if room and synced:
            self._report(None)
        return room and synced

    async def _sync(self) -> bool:
        """Makes all that is in the spool the disk's; False when the disk failed."""
        async with self._syncing:
            unsynced = self._unsynced
            if unsynced:
                try:
                    await self._on_thread(self._spool.sync)
                except OSError as error:
                    self._report(f"the spool can't be synced: {error.strerror}")
                    return False
                self._unsynced -= unsynced
                self._flushed()
            return True

    def _sync_beside(self, *, room: bool) -> None:
        """While the rings are drained. Not more than one at a time."""

        async def sync() -> None:
            if await self._sync() and room:
                self._report(None)

        if self._sync_task is None or self._sync_task.done():
            self._sync_task = asyncio.create_task(sync(), name="usage-sync")

    async def _on_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _note(self, records: bytes) -> None:
        """Enters them into the ledger, and what is missing before them."""
        self._ledger.owe(sum_usage(records))
        for lane, first, count in usage_runs(records):
            where = self._life.node, self._life.boot, lane
            if lost := self._ledger.make(where, first, first + count - 1):
                log.error("usage.lost", lane=lane, before=first, records=lost, hint="a ring was full")

    def _write(self, chunks: Sequence[Chunk]) -> int:
        """On a thread: makes batches of them and appends them; returns how many records that was."""
        node, boot = self._life.node, self._life.boot
        batches = [
            pack(run, node=node, boot=boot, names=names)
            for records, names in _joined(chunks)
            for run in runs_of(records, self._longest)
        ]
        self._spool.append(batches)
        return sum(batch.records for batch in batches)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_fd, 8)
        self._half_full.set()

    async def _nap(self, longest_s: float) -> None:
        """Until a ring is half full, or it is time to look anyway."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._half_full.wait()
        self._half_full.clear()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        flushed_at = loop.time()
        while not self._stopping:
            taken = self.drain()
            waiting = self._unsynced + sum(len(chunk.records) for chunk in self._held) // RECORD_BYTES
            if loop.time() - flushed_at >= self._flush_s or waiting >= self._buffer_size:
                flushed_at = loop.time()
                room = await self.spool()
                self._sync_beside(room=room)
            else:
                room = taken <= BUSY_RECORDS or await self.spool()
            if not room:
                await self._nap(FULL_S)
            elif taken > BUSY_RECORDS:
                await asyncio.sleep(0)
            else:
                await self._nap(min(DRAIN_S, self._flush_s))


def _joined(chunks: Sequence[Chunk]) -> list[tuple[bytes, Mapping[int, Name]]]:
    """The records of each lane behind one another, where their names are the same."""
    joined: dict[tuple[int, int], tuple[list[bytes], Mapping[int, Name]]] = {}
    for chunk in chunks:
        joined.setdefault((chunk.lane, id(chunk.names)), ([], chunk.names))[0].append(chunk.records)
    return [(b"".join(records), names) for records, names in joined.values()]
