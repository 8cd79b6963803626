"""The spool: batches wait on the disk, in files that are only appended to, until their sink has acknowledged them.

A batch that is in the spool survives the process, and once synced the machine. What was acknowledged goes when all of
its file has been, so that after a crash some batches are put a second time, which their consumer notices. Every file
begins with how far each lane had been spooled before, so that no record is ever put into two batches.

All methods block; they may be called from any thread. Nobody waits for a disk that is busy but who syncs: appending,
which gives the rings their places back, goes on meanwhile.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from beast.base.errors import BeastError
from beast.usage.frames import (
    HEADER,
    Damage,
    Lane,
    batch_frame,
    frame_at,
    frame_length,
    frames,
    marks_frame,
    next_frame,
)
from beast.usage.types import Batch, Identity

SEGMENT_BYTES = 8 << 20
SPENT_BYTES = 256 << 10
"""A file all of whose batches are acknowledged is replaced once it is larger: after a crash they would be put again."""
SUFFIX, DAMAGED = ".spool", ".damaged"

log = structlog.get_logger(__name__)


class SpoolFullError(BeastError):
    """There is no room for these batches now; nothing of them was written."""


class Segment(msgspec.Struct, eq=False):
    """One file."""

    number: int
    path: Path
    size: int = 0
    synced: int = 0
    read: int = 0
    """How far it was handed out."""
    unread: int = 0
    """Batches behind that."""
    open: int = 0
    """Batches handed out and not acknowledged."""
    damaged: bool = False
    file: int = -1
    """Its descriptor, while something may be appended or has to be synced."""
    begun: bool = True
    """Whether the file, with its marks, is on the disk."""


class Opened(msgspec.Struct, frozen=True):
    """What was found on the disk."""

    batches: int
    torn_bytes: int
    """Cut off the end: a write that was under way."""
    damaged_bytes: int
    """Elsewhere: these files are kept, see DAMAGED."""


class Spool:
    """The spool of one home.

    Args:
        folder: Where its files are; made when it isn't there.
        max_bytes: How much all of them may take.
        segment_bytes: How large one becomes.
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.marks: dict[Lane, int] = {}
        """How far each lane has been spooled, by (boot, lane): the last sequence number."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments: deque[Segment] = deque()
        self._flying: dict[Identity, Segment] = {}
        self._returned: deque[Batch] = deque()
        self._syncing = threading.Lock()
        """Taken before the other one."""
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """How many bytes its files take."""
        return sum(segment.size for segment in list(self._segments))

    def open(self, found: Callable[[Batch], None] = lambda _: None) -> Opened:
        """Takes up what is on the disk, each batch of which is shown to `found`; from then on it can be used.

        Raises:
            BeastError: The folder can't be read or written.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            paths = sorted(self._folder.glob(f"*{SUFFIX}"))
            torn = damaged = count = 0
            for path in paths:
                segment, cut, bad = self._read_segment(path, found, last=path == paths[-1])
                self._segments.append(segment)
                torn, damaged, count = torn + cut, damaged + bad, count + segment.unread
            self._begin()
            self.sync()
        except OSError as error:
            raise BeastError(f"can't be used: {error.strerror}", where=str(self._folder)) from error
        return Opened(count, torn, damaged)

    def append(self, batches: Sequence[Batch]) -> None:
        """Writes all of them, or none. They are the disk's after sync().

        Raises:
            SpoolFullError: There is no room for them.
            OSError: The disk failed.
        """
        data = b"".join(map(batch_frame, batches))
        with self._lock:
            if self._segments[-1].size >= self._segment_bytes:
                self._begin_next()
            if self.size + len(data) > self.max_bytes:
                raise SpoolFullError(
                    f"is full: {self.max_bytes} bytes", where=str(self._folder), todo="see usage_spool_max_bytes"
                )
            self._write(data)
            self._segments[-1].unread += len(batches)
            for batch in batches:
                self.marks[batch.boot, batch.lane] = max(batch.last, self.marks.get((batch.boot, batch.lane), 0))

    def sync(self) -> None:
        """Returns when everything appended until now is on the disk; only then is it handed out. Raises OSError."""
        with self._syncing:
            with self._lock:
                due = [
                    (segment, os.dup(segment.file), segment.size)
                    for segment in self._segments
                    if segment.synced < segment.size or not segment.begun
                ]
            self._sync_files(due)
            with self._lock:
                for segment, _, size in due:
                    segment.synced, segment.begun = size, True
                for segment in list(self._segments)[:-1]:
                    _close(segment)
                    self._drop_if_done(segment)

    def take(self, *, batches: int, records: int) -> list[Batch]:
        """The oldest that were not handed out yet: so many at most, at least one if there is one.

        Each is to be either acknowledged or given back.
        """
        with self._lock:
            taken: list[Batch] = []
            total = 0
            while len(taken) < batches and total < records and (batch := self._next()) is not None:
                taken.append(batch)
                total += batch.records
            return taken

    def give_back(self, batches: Iterable[Batch]) -> None:
        """They were not acknowledged: they are handed out again, before all others."""
        with self._lock:
            self._returned.extendleft(reversed(list(batches)))

    def acknowledge(self, batches: Iterable[Identity]) -> None:
        """They are safe elsewhere. Raises OSError."""
        with self._lock:
            touched = set()
            for identity in batches:
                segment = self._flying.pop(identity, None)
                if segment is not None:
                    segment.open -= 1
                    touched.add(segment)
            for segment in touched:
                self._drop_if_done(segment)
            current = self._segments[-1]
            spent = current.size > SPENT_BYTES and not current.open and not current.unread
        if spent:
            # On a full disk it is kept, and grows: nothing depends on this.
            with suppress(OSError):
                self._replace()

    def close(self) -> None:
        """Syncs. Leaves nothing to be put again when everything was acknowledged. Raises OSError."""
        self.sync()
        with self._lock:
            current = self._segments[-1]
            spent = len(self._segments) == 1 and not current.open and not current.unread
        if spent:
            self._replace()
        with self._lock:
            for segment in self._segments:
                _close(segment)

    def _replace(self) -> None:
        with self._lock:
            self._begin()
        self.sync()

    def _sync_files(self, due: Sequence[tuple[Segment, int, int]]) -> None:
        """The slow part, without a lock that anybody else waits for."""
        try:
            for segment, file, _ in due:
                (os.fdatasync if segment.begun else os.fsync)(file)
            if not all(segment.begun for segment, _, _ in due):
                _sync_folder(self._folder)
        finally:
            for _, file, _ in due:
                os.close(file)

    # Below, the lock is held.

    def _read_segment(self, path: Path, found: Callable[[Batch], None], *, last: bool) -> tuple[Segment, int, int]:
        segment = Segment(int(path.stem), path)
        data = path.read_bytes()
        torn = damaged = 0
        end = len(data)
        for each in frames(data):
            if isinstance(each, Damage):
                if last and each.end == len(data):
                    end, torn = each.start, each.end - each.start
                else:
                    damaged += each.end - each.start
            elif each.marks is not None:
                self.marks |= {lane: max(mark, self.marks.get(lane, 0)) for lane, mark in each.marks.items()}
            elif each.batch is not None:
                lane = each.batch.boot, each.batch.lane
                self.marks[lane] = max(each.batch.last, self.marks.get(lane, 0))
                segment.unread += 1
                found(each.batch)
        if torn:
            os.truncate(path, end)
            log.warning("usage.torn_tail", file=path.name, bytes=torn)
        if damaged:
            segment.damaged = True
            log.error("usage.spool_damaged", file=path.name, bytes=damaged)
        segment.size = segment.synced = end
        return segment, torn, damaged

    def _begin(self) -> None:
        """A new file. With its marks it must be on the disk before anything older may go, which sync() sees to."""
        number = self._segments[-1].number + 1 if self._segments else 1
        path = self._folder / f"{number:012d}{SUFFIX}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, marks_frame(self.marks))
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self._segments.append(Segment(number, path, size=os.fstat(file).st_size, file=file, begun=False))

    def _begin_next(self) -> None:
        try:
            self._begin()
        except OSError as error:
            raise SpoolFullError(f"can't be written: {error.strerror}", where=str(self._folder)) from error

    def _write(self, data: bytes) -> None:
        current = self._segments[-1]
        try:
            _write_all(current.file, data)
        except OSError as error:
            # As if it had not begun. Were this to fail too, the end would be torn, and found so.
            os.ftruncate(current.file, current.size)
            os.lseek(current.file, current.size, os.SEEK_SET)
            raise SpoolFullError(f"can't be written: {error.strerror}", where=str(self._folder)) from error
        current.size += len(data)

    def _next(self) -> Batch | None:
        if self._returned:
            return self._returned.popleft()
        for segment in list(self._segments):
            if segment.unread and segment.read < segment.synced:
                batch = self._read_batch(segment)
                if batch is not None:
                    return batch
        return None

    def _read_batch(self, segment: Segment) -> Batch | None:
        """The next batch of a file; what was damaged since it was written is passed over."""
        with segment.path.open("rb", buffering=0) as file:
            while segment.read < segment.synced:
                length = frame_length(os.pread(file.fileno(), HEADER, segment.read))
                frame = frame_at(os.pread(file.fileno(), length, segment.read), 0)
                if frame is None:
                    rest = os.pread(file.fileno(), segment.synced - segment.read, segment.read)
                    skipped = next_frame(rest, 1)
                    log.error("usage.spool_damaged", file=segment.path.name, bytes=skipped)
                    segment.damaged = True
                    segment.read += skipped
                    continue
                segment.read += frame.end
                if frame.batch is not None:
                    segment.unread -= 1
                    segment.open += 1
                    self._flying[frame.batch.identity] = segment
                    return frame.batch
        if segment is not self._segments[-1]:
            segment.unread = 0
            self._drop_if_done(segment)
        return None

    def _drop_if_done(self, segment: Segment) -> None:
        if (
            segment.open
            or segment.unread
            or not any(later.begun for later in self._segments if later.number > segment.number)
        ):
            return
        _close(segment)
        self._segments.remove(segment)
        if segment.damaged:
            segment.path.rename(segment.path.with_suffix(DAMAGED))
        else:
            segment.path.unlink(missing_ok=True)


def spooled(folder: Path) -> Iterator[Batch]:
    """Every batch in the files of a spool that nobody uses; acknowledged ones may be among them. Raises OSError."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        for each in frames(path.read_bytes()):
            if not isinstance(each, Damage) and each.batch is not None:
                yield each.batch


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _close(segment: Segment) -> None:
    if segment.file >= 0:
        os.close(segment.file)
        segment.file = -1


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
