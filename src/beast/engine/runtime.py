"""The running workers as the main thread sees them: started, listened to, drained.

The workers never call into Python. What they have for it (a connection to take over, a request that memory
could not answer) waits in their rings; a file descriptor that turns readable says so.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable

from beast._fast import Engine, Miss

BATCH_S = 0.005
"""Longer than a worker needs for a batch, which may have been begun under other parameters."""
TAKE_AT_ONCE = 64
"""Connections and misses taken in one turn of the loop, so that a flood of them does not hold it."""


class Runtime:
    """Owns one Engine's life on the running event loop.

    Args:
        engine: Made, not yet started.
        on_connection: Takes over a socket (file descriptor, bytes read so far); the descriptor is its own.
        on_miss: Finds a price in slower tiers, then calls `engine.resume(miss)`. Without it nothing is parked:
            what memory cannot answer is answered with an error at once.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        on_connection: Callable[[int, bytes], None],
        on_miss: Callable[[Miss], None] | None = None,
    ) -> None:
        self.engine = engine
        self._on_connection = on_connection
        self._on_miss = on_miss
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Binds, starts the workers and listens to them.

        Raises:
            OSError: says which protocol and address could not be had.
        """
        self.engine.start()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.engine.fileno(), self._woken)

    def set_park_wait(self, wait_ms: int) -> None:
        """How long a request may wait for `on_miss`."""
        self.engine.set_park_misses(self._on_miss is not None, wait_ms)

    async def stop(self, timeout_s: float) -> None:
        """Drains the workers: what they have received is answered, what they gave away is taken.

        Raises:
            TimeoutError: a worker did not leave within `timeout_s` seconds.
        """
        if self._loop is None:
            return
        # Parked requests are the stopping thread's from here on; what was parked before is taken by this one first.
        self.engine.set_park_misses(False)
        await asyncio.sleep(BATCH_S)
        while self._take():
            pass
        self._on_miss = None
        try:
            await asyncio.to_thread(self.engine.stop, timeout_s)
        finally:
            self._loop.remove_reader(self.engine.fileno())
            self._loop = None
            while self._take():
                pass

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.engine.fileno(), 8)
        if self._take() and self._loop is not None:
            self._loop.call_soon(self._woken)

    def _take(self) -> bool:
        """Takes a turn's share; True when there may be more."""
        for _ in range(TAKE_AT_ONCE):
            connection = self.engine.take_connection()
            miss = self.engine.take_miss() if self._on_miss is not None else None
            if connection is not None:
                self._on_connection(*connection)
            if miss is not None and self._on_miss is not None:
                self._on_miss(miss)
            if connection is None and miss is None:
                return False
        return True
