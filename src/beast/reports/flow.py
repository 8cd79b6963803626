"""Bytes made by one task and taken by another."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Literal

from beast.base.tasks import Tasks

AHEAD = 4
"""Pieces made before the first one must be taken: memory is bounded by it."""
STALL_S = 60.0
"""Who takes nothing for so long has gone without a word."""

State = Literal["made", "aborted", "failed"]


class Flow:
    """Runs `source` in a task of its own, for one taker.

    Whoever sends an answer may be cancelled at any moment. The source is not: it is told to end, and has time to give
    its connection back. Then `ended` is called, whatever happened.

    Args:
        source: Makes the bytes.
        tasks: Keeps the task.
        ended: Told how it ended and how many bytes were taken.
    """

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        tasks: Tasks,
        ended: Callable[[State, int], Awaitable[None]],
    ) -> None:
        self._source = source
        self._ended = ended
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(AHEAD)
        self._error: Exception | None = None
        self._over = False
        self._bytes = 0
        self._first: bytes | None = b""
        self._task = tasks.spawn("report", self._run())

    async def begin(self) -> None:
        """Waits for the first bytes.

        Raises:
            Exception: the source's own, when it comes to none.
        """
        try:
            self._first = await self._queue.get()
        except asyncio.CancelledError:
            self.leave()
            raise
        if self._first is None and self._error is not None:
            raise self._error

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """All bytes.

        Raises:
            Exception: the source's own; what has been taken is then not the whole.
        """
        try:
            chunk = self._first
            while chunk is not None:
                if chunk:
                    self._bytes += len(chunk)
                    yield chunk
                chunk = await self._queue.get()
            if self._error is not None:
                raise self._error
        finally:
            self.leave()

    def leave(self) -> None:
        """The taker goes; what is not made yet need not be made, and nothing that is waits for him."""
        while not self._queue.empty():
            self._queue.get_nowait()
        if not self._over:
            self._task.cancel()

    async def _run(self) -> None:
        state: State = "aborted"
        try:
            async with aclosing(self._source):
                async for chunk in self._source:
                    await self._put(chunk)
            state = "made"
        except TimeoutError:
            self._error = TimeoutError("nobody took it")
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the taker
            self._error, state = error, "failed"
        self._over = True
        try:
            await self._put(None)
        except TimeoutError:
            state = "aborted"
        await self._ended(state, self._bytes)

    async def _put(self, chunk: bytes | None) -> None:
        async with asyncio.timeout(STALL_S):
            await self._queue.put(chunk)
