"""How batches lie in a file of the spool: frames that prove themselves, so that any cut or damage is found.

    BSPL | kind | 0 0 0 | length | CRC-32 of the twelve bytes before it and of the body | body

Numbers are little-endian. After damage, reading goes on at the next frame that proves itself.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping

import msgspec

from beast.usage.types import Batch

MAGIC = b"BSPL"
MARKS, BATCH = 1, 2
"""Kinds of frames. A file begins with the marks: how far each lane had been spooled before."""
HEADER = 16
BODY_MAX = 1 << 26

Lane = tuple[int, int]
"""(boot, lane)."""

_HEAD = struct.Struct("<4sBxxxI")
_CRC = struct.Struct("<I")
_MARKS = msgspec.json.Decoder(list[tuple[int, int, int]])
_BATCH = msgspec.msgpack.Decoder(Batch)


class Frame(msgspec.Struct, frozen=True):
    """One frame that has proved itself."""

    start: int
    end: int
    marks: dict[Lane, int] | None
    batch: Batch | None


class Damage(msgspec.Struct, frozen=True):
    """Bytes that are no frame."""

    start: int
    end: int


def marks_frame(marks: Mapping[Lane, int]) -> bytes:
    """How far each lane has been spooled: the last sequence number."""
    return _frame(MARKS, msgspec.json.encode([(boot, lane, last) for (boot, lane), last in marks.items()]))


def batch_frame(batch: Batch) -> bytes:
    """One batch."""
    return _frame(BATCH, msgspec.msgpack.encode(batch))


def frames(data: bytes, start: int = 0) -> Iterator[Frame | Damage]:
    """All frames of a file from `start` on, and what lies between them, in its order."""
    at = start
    while at < len(data):
        frame = frame_at(data, at)
        if frame is None:
            found = next_frame(data, at + 1)
            yield Damage(at, found)
            at = found
        else:
            yield frame
            at = frame.end


def frame_at(data: bytes, at: int) -> Frame | None:
    """The frame that begins there, if a whole and sound one does."""
    if len(data) - at < HEADER:
        return None
    magic, kind, length = _HEAD.unpack_from(data, at)
    end = at + HEADER + length
    if magic != MAGIC or length > BODY_MAX or end > len(data):
        return None
    body = memoryview(data)[at + HEADER : end]
    (told,) = _CRC.unpack_from(data, at + _HEAD.size)
    if told != zlib.crc32(body, zlib.crc32(data[at : at + _HEAD.size])):
        return None
    try:
        if kind == MARKS:
            return Frame(at, end, {(boot, lane): last for boot, lane, last in _MARKS.decode(body)}, None)
        return Frame(at, end, None, _BATCH.decode(body)) if kind == BATCH else None
    except msgspec.DecodeError:
        return None


def frame_length(head: bytes) -> int:
    """How long the frame that begins with `head` says it is; HEADER when it is none."""
    if len(head) < HEADER:
        return HEADER
    magic, _, length = _HEAD.unpack_from(head)
    return HEADER + (length if magic == MAGIC and length <= BODY_MAX else 0)


def next_frame(data: bytes, at: int) -> int:
    """Where the next sound frame begins; the end of the data when there is none."""
    while (at := data.find(MAGIC, at)) >= 0:
        if frame_at(data, at) is not None:
            return at
        at += 1
    return len(data)


def _frame(kind: int, body: bytes) -> bytes:
    head = _HEAD.pack(MAGIC, kind, len(body))
    return b"".join((head, _CRC.pack(zlib.crc32(body, zlib.crc32(head))), body))
