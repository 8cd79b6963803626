"""Empties the workers' usage rings in time and hands what was answered to the accounts, to the last record."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from beast._fast import Engine
from beast.cluster.types import Parameters

RECORD_BYTES = 48
DRAIN_S = 0.05
"""The longest nap between two looks at the rings. One that is half full ends it at once."""
BUSY_RECORDS = 1 << 13
"""More than this in one turn: the rings fill quickly, so the next turn comes at once."""

log = structlog.get_logger(__name__)

AddUsage = Callable[[Sequence[tuple[int, int]]], Awaitable[int]]
"""Adds (API key id, answered requests) to the accounts, in one statement."""


class Drainer:
    """Drains and flushes until it is stopped.

    What the sink could not take is kept and told again with the next flush. A flush whose fate is unknown (the
    connection broke during the commit) may so be counted twice; nothing is ever lost.

    Args:
        engine: Whose rings.
        add_usage: The sink.
        report: Told what is wrong with the sink, or None when it is well again.
    """

    def __init__(self, engine: Engine, add_usage: AddUsage, report: Callable[[str | None], None]) -> None:
        self._engine = engine
        self._add_usage = add_usage
        self._report = report
        self._pending: Counter[int] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._half_full = asyncio.Event()
        self.booking = asyncio.Lock()
        """Held while a batch is on its way to the sink."""
        self.pending = 0
        """Answers drained but not yet with the accounts."""
        self.tune(Parameters())

    def tune(self, parameters: Parameters) -> None:
        """Takes the parameters that begin with `sqs_`, from now on."""
        self._flush_s = parameters.sqs_flush_ms / 1e3
        self._buffer_size = parameters.sqs_buffer_size
        self._timeout_s = parameters.sqs_timeout_ms / 1e3

    def start(self) -> None:
        """Starts draining on the running loop."""
        asyncio.get_running_loop().add_reader(self._engine.usage_fileno(), self._wake)
        self._task = asyncio.create_task(self._run(), name="usage-drainer")

    async def stop(self) -> None:
        """Drains what the stopped workers have left and flushes it, once."""
        if self._task is not None:
            asyncio.get_running_loop().remove_reader(self._engine.usage_fileno())
            self._task.cancel()
            await asyncio.wait({self._task})
        while self.drain():
            pass
        await self.flush()
        if self._pending:
            log.error("usage.lost", answers=self.pending, hint="the database was away until the end")

    def drain(self) -> int:
        """Takes what is in the rings now; returns how many records it was."""
        records, answers = self._engine.drain_usage()
        count = len(records) // RECORD_BYTES
        if count:
            self._engine.count("batch_rows_queued", count)
            self._keep(answers)
        return count

    def unbooked(self) -> Mapping[int, int]:
        """All answers, by API key id, that the sink was not told of; true to the last one while `booking` is held."""
        self.drain()
        return self._pending

    async def flush(self) -> None:
        """Hands the sums to the sink; keeps them when it fails or takes too long."""
        if not self._pending:
            return
        batch: list[tuple[int, int]] = []
        self._engine.count("bg_work_submitted")
        try:
            async with asyncio.timeout(self._timeout_s), self.booking:
                batch = self._take()
                await self._add_usage(batch)
        except asyncio.CancelledError:
            self._keep(batch)
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be lost by it
            self._keep(batch)
            self._report(f"usage is kept in memory: {str(error) or 'the database took too long'}")
        else:
            self._engine.count("bg_work_completed")
            self._report(None)

    def _take(self) -> list[tuple[int, int]]:
        batch = list(self._pending.items())
        self._pending.clear()
        self.pending = 0
        return batch

    def _keep(self, answers: Sequence[tuple[int, int]]) -> None:
        for key_id, answered in answers:
            self._pending[key_id] += answered
            self.pending += answered

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._engine.usage_fileno(), 8)
        self._half_full.set()

    async def _nap(self) -> None:
        """Until a ring is half full, or it is time to look anyway."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(DRAIN_S, self._flush_s)):
                await self._half_full.wait()
        self._half_full.clear()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        flushed_at = loop.time()
        flushing: asyncio.Task[None] | None = None
        try:
            while True:
                drained = self.drain()
                due = loop.time() - flushed_at >= self._flush_s or self.pending >= self._buffer_size
                if due and (flushing is None or flushing.done()):
                    flushed_at = loop.time()
                    flushing = asyncio.create_task(self.flush(), name="usage-flush")
                await (asyncio.sleep(0) if drained > BUSY_RECORDS else self._nap())
        finally:
            if flushing is not None:
                await asyncio.wait({flushing})
