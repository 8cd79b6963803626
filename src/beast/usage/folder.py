"""A queue that is a folder: for machines without one, for a consumer of its own, and for trying things out.

A message is a file, written aside and renamed when it is on the disk. Of several consumers each takes what it finds;
two that take the same message book it once, as with any queue.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from beast.base.errors import BeastError
from beast.usage.codec import seal
from beast.usage.sink import Depth, Message
from beast.usage.types import BATCH_RECORDS, Batch, Identity

MESSAGES = 64
"""At most so many are received at once."""
POLL_S = 0.1
WAIT_S = 1.0
SUFFIX = ".json"


class FolderQueue:
    """Both ends of it.

    Args:
        folder: Where the messages lie; made when it isn't there.
    """

    books = timed = False
    longest = BATCH_RECORDS

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, batches: Sequence[Batch]) -> Sequence[Identity]:
        """See Sink."""
        return await asyncio.to_thread(self._put, batches)

    async def receive(self) -> Sequence[Message]:
        """See Source."""
        for _ in range(round(WAIT_S / POLL_S)):
            if messages := await asyncio.to_thread(self._read):
                return messages
            await asyncio.sleep(POLL_S)
        return []

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """See Source."""
        for message in messages:
            (self._folder / message.receipt).unlink(missing_ok=True)

    async def release(self, messages: Sequence[Message]) -> None:
        """See Source. Nobody had been kept from them."""

    async def depth(self) -> Depth:
        """How many messages wait. A folder does not know which of them somebody is at."""
        names = await asyncio.to_thread(lambda: sum(1 for _ in self._folder.glob(f"[!.]*{SUFFIX}")))
        return Depth(queue=str(self._folder), messages=names, in_flight=0)

    def _put(self, batches: Sequence[Batch]) -> list[Identity]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for batch in batches:
                self._write(f"{batch.node}-{batch.boot}-{batch.lane:03d}-{batch.first:020d}{SUFFIX}", seal(batch))
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise BeastError(f"can't be written: {error.strerror}", where=str(self._folder)) from error
        return [batch.identity for batch in batches]

    def _write(self, name: str, body: bytes) -> None:
        aside = self._folder / f".{name}"
        with aside.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(self._folder / name)

    def _read(self) -> list[Message]:
        try:
            names = sorted(path.name for path in self._folder.glob(f"[!.]*{SUFFIX}"))[:MESSAGES]
            return [Message((self._folder / name).read_bytes(), name) for name in names]
        except FileNotFoundError:
            # Another consumer was quicker.
            return []
        except OSError as error:
            raise BeastError(f"can't be read: {error.strerror}", where=str(self._folder)) from error
