"""Writes a recording: the event loop hands over what happens, a thread packs it and puts it on the disk.

The loop never waits for the disk. What it may be ahead is bounded: past that, frames are dropped, and the recording
says how many. What changes the meaning of later frames is never dropped.
"""

import re
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, Final

import msgspec

from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.feeds.recording.file import FORMAT, SUFFIX, End, Event, Frame, Gap, Head, LinkProven, pack, pack_block
from beast.feeds.recording.standing import Standing

FLUSH_S: Final = 1.0
"""A crash loses no more than what came this long before it, in seconds."""
BLOCK_BYTES: Final = 1 << 20
"""Unpacked, a block is closed when it has grown to this."""
WAITING_MAX: Final = 64 << 20
"""Bytes that may wait for the disk."""
PART_NS: Final = 3600 * 10**9
"""Longest time in one file, in ns."""
LEAST_BYTES: Final = 1 << 16
_EVENT_COST: Final = 256
"""Bytes of memory that an event takes besides its frame."""
_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z-\d{6}" + re.escape(SUFFIX))


class Figures(msgspec.Struct):
    """What was written so far."""

    frames: int = 0
    frame_bytes: int = 0
    missing: int = 0
    parts: int = 0
    file_bytes: int = 0
    removed: int = 0


class PartWriter:
    """The files of one recording, in a folder whose recordings together are bounded.

    Args:
        folder: Where; it is made.
        head: How the first file begins.
        max_bytes: Of all recordings in the folder: the oldest files are removed.
        part_bytes: Of one file; an eighth of `max_bytes` unless given.
    """

    def __init__(self, folder: Path, head: Head, *, max_bytes: int, part_bytes: int | None = None) -> None:
        if max_bytes < LEAST_BYTES:
            raise ValueError(f"a recording needs {LEAST_BYTES} bytes at least")
        self.figures = Figures()
        self._folder = folder
        self._head = head
        self._max_bytes = max_bytes
        self._part_bytes = part_bytes or max_bytes // 8
        self._stem = f"{datetime.fromtimestamp(head.wall_ns / 1e9, UTC):%Y%m%dT%H%M%S.%f}Z"
        self._standing = Standing()
        self._file: BinaryIO | None = None
        self._size = 0
        self._began_ns = head.at_ns
        folder.mkdir(parents=True, exist_ok=True)
        self._begin(head.at_ns, 0)

    def write(self, events: Iterable[Event]) -> None:
        """Adds a block, in a new file when it is time for one. Raises OSError, or BeastError when there is no room."""
        events = list(events)
        block = pack_block([pack(event) for event in events])
        at_ns = events[-1].at_ns
        if self._size + len(block) > self._part_bytes or at_ns - self._began_ns > PART_NS:
            self._begin(at_ns, len(block))
        self._put(block)
        for event in events:
            self._standing.take(event)
            if isinstance(event, Frame):
                self.figures.frames += 1
                self.figures.frame_bytes += len(event.raw)
            elif isinstance(event, Gap):
                self.figures.missing += event.missing

    def close(self) -> None:
        """Nothing is written any more."""
        if self._file is not None:
            self._file.close()

    def _begin(self, at_ns: int, more: int) -> None:
        """A new file, which begins with all that is in force; so many bytes are to follow at once."""
        head = msgspec.structs.replace(self._head, at_ns=at_ns, part=self.figures.parts)
        block = pack_block([pack(head), *map(pack, self._standing.events())])
        self.close()
        self._make_room(max(self._part_bytes, len(block) + more))
        self._file = (self._folder / f"{self._stem}-{head.part:06}{SUFFIX}").open("xb", buffering=0)
        self._size, self._began_ns = 0, at_ns
        self.figures.parts += 1
        self._put(block)

    def _put(self, block: bytes) -> None:
        assert self._file is not None
        rest = memoryview(block)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._size += len(block)
        self.figures.file_bytes += len(block)

    def _make_room(self, wanted: int) -> None:
        """Removes the oldest files; their names are in order of time."""
        files = sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))
        sizes = [path.stat().st_size for path in files]
        left = sum(sizes)
        for path, size in zip(files, sizes, strict=True):
            if left + wanted <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            left -= size
            self.figures.removed += 1
        if wanted > self._max_bytes:
            raise BeastError(f"{wanted} bytes don't fit into {self._max_bytes}", where=str(self._folder))


class Recorder:
    """Takes events on the event loop, in order, and has them written.

    Args:
        writer: Used by one thread from here on.
        clock: The time.
        waiting_max: Bytes that may wait for the disk.
    """

    def __init__(self, writer: PartWriter, clock: Clock, *, waiting_max: int = WAITING_MAX) -> None:
        self.clock = clock
        self.failure: Exception | None = None
        """Why nothing is written any more."""
        self._writer = writer
        self._waiting_max = waiting_max
        self._queue = SimpleQueue[Event]()
        self._put_bytes = 0  # by the loop alone
        self._taken_bytes = 0  # by the thread alone: their difference needs no lock
        self._missing = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def figures(self) -> Figures:
        """What was written so far."""
        return self._writer.figures

    def add(self, event: Event) -> None:
        """Something that must not be missing."""
        self._tell_missing(event.at_ns)
        self._put(event)

    def offer(self, event: Frame | LinkProven) -> None:
        """Something that may be missing when there is no room for it: then that is told."""
        if self._missing or self._put_bytes - self._taken_bytes > self._waiting_max:
            if self._put_bytes - self._taken_bytes > self._waiting_max // 2:
                self._missing += 1
                return
            self._tell_missing(event.at_ns)
        self._put(event)

    def close(self) -> None:
        """Writes what waits, and the end. Raises what went wrong in writing."""
        self.add(End(self.clock.monotonic_ns()))
        self._thread.join()
        self._writer.close()
        if self.failure is not None:
            raise self.failure

    def _tell_missing(self, at_ns: int) -> None:
        if self._missing:
            self._put(Gap(at_ns, self._missing))
            self._missing = 0

    def _put(self, event: Event) -> None:
        if self.failure is None:
            self._put_bytes += _cost(event)
            self._queue.put(event)

    def _run(self) -> None:
        try:
            while not (events := self._gather()) or not isinstance(events[-1], End):
                self._writer.write(events)
            self._writer.write(events)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for the one who asked for a recording
            self.failure = error

    def _gather(self) -> list[Event]:
        """A block's worth: what comes within FLUSH_S, at most BLOCK_BYTES and one event."""
        events = [self._queue.get()]
        size = _cost(events[0])
        due_s = time.monotonic() + FLUSH_S
        while size < BLOCK_BYTES and not isinstance(events[-1], End):
            try:
                events.append(self._queue.get(timeout=max(due_s - time.monotonic(), 0)))
            except Empty:
                break
            size += _cost(events[-1])
        self._taken_bytes += size
        return events


def new_head(clock: Clock, *, version: str, max_instruments: int) -> Head:
    """How a recording begins that begins now."""
    wall_ns, now_ns = clock.wall_ns(), clock.monotonic_ns()
    return Head(
        at_ns=now_ns,
        format=FORMAT,
        version=version,
        recording=f"{wall_ns:x}",
        part=0,
        wall_ns=wall_ns,
        monotonic_ns=now_ns,
        max_instruments=max_instruments,
    )


def _cost(event: Event) -> int:
    return _EVENT_COST + (len(event.raw) if isinstance(event, Frame) else 0)
