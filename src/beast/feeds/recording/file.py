"""The file that a recording is: what the feeds told the engine, in order, with the times they told it.

A file is a row of blocks. Each block is two frames of zstd (RFC 8878): a skippable one (section 3.1.2) of 4 bytes
that hold the length of the next, and one with the data and its checksum, so that `zstd -d` reads the whole file. The
data is MessagePack: an array of events, each an array that begins with its name. The first event of a file is its
Head; what was in force when the file was begun comes right after it, so that a file can be read without those before.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec
import zstandard

from beast.base.errors import BeastError
from beast.feeds.rows.files import Exchange
from beast.prices.catalogue import Row

FORMAT: Final = 1
SUFFIX: Final = ".beast.zst"
BLOCK_MAX: Final = 64 << 20
"""Longest block, unpacked, in bytes: what a writer gathers, and one frame of the longest."""
_LEVEL: Final = 3
_LENGTH: Final = struct.Struct("<III")
"""Magic number of the skippable frame, its size, and what it holds: the length of the frame behind it."""
_SKIPPABLE: Final = 0x184D2A50


class _Event(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    at_ns: int
    """CLOCK_MONOTONIC of the machine that recorded."""


class Head(_Event, frozen=True, tag="head"):
    """How a file begins."""

    format: int
    version: str
    """Of the Beast that recorded."""
    recording: str
    """The same in all files of one recording."""
    part: int
    """The file's number in its recording, from 0."""
    wall_ns: int
    """Ns since 1970 when the recording began."""
    monotonic_ns: int
    """CLOCK_MONOTONIC at that moment."""
    max_instruments: int
    """Places that the price table had."""


class Parameters(_Event, frozen=True, tag="parameters"):
    """What decides between states, beside the rows."""

    ttl_ms: int
    """How long a price is live."""
    band_bps: int
    confirmations: int
    quorum: int
    outlier_bps: int
    """The rules of Engine.set_price_rules()."""
    live_without_link_ms: int = 0
    """How long it is so without its connection; 0 in recordings from before there was such a parameter."""


class Rows(_Event, frozen=True, tag="rows"):
    """The exchanges that run from now on: all of them, with all their rows."""

    exchanges: tuple[Exchange, ...]


class Instruments(_Event, frozen=True, tag="instruments"):
    """All places of the price table."""

    instruments: tuple[Row, ...]


class Opened(_Event, frozen=True, tag="opened"):
    """A reader of frames is made for a link, by the rows of its exchange."""

    reader: int
    exchange: str
    link: int
    backfill_ns: int


class Symbols(_Event, frozen=True, tag="symbols"):
    """What a reader's frames may bring: (wire symbol, instrument)."""

    reader: int
    symbols: tuple[tuple[bytes, int], ...]


class Replanned(_Event, frozen=True, tag="replanned"):
    """A reader goes by its exchange's rows as they are now."""

    reader: int


class Backfill(_Event, frozen=True, tag="backfill"):
    """A reader's trades further behind the clock than this are fresh since their own time only."""

    reader: int
    backfill_ns: int


class Epoch(_Event, frozen=True, tag="epoch"):
    """A reader's frames belong to this epoch of its link, as LinkUp told it."""

    reader: int
    epoch: int


class LinkUp(_Event, frozen=True, tag="up"):
    """A connection is open, or has begun anew."""

    link: int
    patience_ns: int
    epoch: int
    """What the engine answered. Another one may answer another number; it stands for this one then."""


class LinkProven(_Event, frozen=True, tag="proven"):
    """Something came that was no frame with data: a ping, a pong."""

    link: int


class LinkDown(_Event, frozen=True, tag="down"):
    """The connection is gone."""

    link: int


class LinkDoubted(_Event, frozen=True, tag="link_doubted"):
    """Something came over it that could not be read: another epoch of the same connection."""

    link: int
    epoch: int
    """As in LinkUp."""


class Doubted(_Event, frozen=True, tag="doubted"):
    """Something came that may have been a newer price, and could not be read."""

    instrument: int


class Forgotten(_Event, frozen=True, tag="forgotten"):
    """The price held counts no more."""

    instrument: int


class Frame(_Event, frozen=True, tag="frame"):
    """One message as it came, text or binary, at `at_ns`."""

    reader: int
    wall_ns: int
    raw: bytes


class Swept(_Event, frozen=True, tag="swept"):
    """Consensus prices and prices held back were looked at again."""


class Gap(_Event, frozen=True, tag="gap"):
    """So many frames and signs of life came faster than they could be written, and are missing here."""

    missing: int


class End(_Event, frozen=True, tag="end"):
    """The recording was ended in order."""


Event = (
    Head
    | Parameters
    | Rows
    | Instruments
    | Opened
    | Symbols
    | Replanned
    | Backfill
    | Epoch
    | LinkUp
    | LinkProven
    | LinkDown
    | LinkDoubted
    | Doubted
    | Forgotten
    | Frame
    | Swept
    | Gap
    | End
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Event, ...])


def pack(event: Event) -> bytes:
    """An event as it stands in a block."""
    return _encoder.encode(event)


def pack_block(events: Sequence[bytes]) -> bytes:
    """Packed events as one block."""
    data = b"".join((b"\xdd", len(events).to_bytes(4, "big"), *events))  # MessagePack's array 32
    body = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(data)
    return _LENGTH.pack(_SKIPPABLE, 4, len(body)) + body


class Damage(NamedTuple):
    """Where a file stops making sense."""

    offset: int
    """Bytes in front of it that are well."""
    reason: str


def read_blocks(file: BinaryIO) -> Iterator[tuple[Event, ...] | Damage]:
    """The events of a file, block by block; a Damage is the last thing it tells."""
    offset = 0
    unpacker = zstandard.ZstdDecompressor()
    while head := file.read(_LENGTH.size):
        block = _read_block(head, file, unpacker)
        if isinstance(block, str):
            yield Damage(offset, block)
            return
        offset, events = offset + block[0], block[1]
        yield events


def _read_block(
    head: bytes, file: BinaryIO, unpacker: zstandard.ZstdDecompressor
) -> tuple[int, tuple[Event, ...]] | str:
    """(its length in bytes, its events), or what is wrong with it."""
    if len(head) < _LENGTH.size:
        return "the file ends inside a block"
    magic, size, length = _LENGTH.unpack(head)
    if magic != _SKIPPABLE or size != 4 or length > BLOCK_MAX:  # noqa: PLR2004 - the size of a length
        return "no block begins here"
    body = file.read(length)
    if len(body) < length:
        return "the file ends inside a block"
    try:
        if not 0 <= zstandard.frame_content_size(body) <= BLOCK_MAX:
            return "a block doesn't say its size, or is too long"
        return len(head) + length, _decoder.decode(unpacker.decompress(body, allow_extra_data=False))
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        return str(error)


class Part(NamedTuple):
    """One file of a recording."""

    path: Path
    head: Head


def read_head(path: Path) -> Head:
    """How a file begins. Raises BeastError when it is no recording, or of a later format."""
    try:
        with path.open("rb") as file:
            first = next(read_blocks(file), Damage(0, "the file is empty"))
    except OSError as error:
        raise BeastError(f"can't be read: {error.strerror}", where=str(path)) from None
    if isinstance(first, Damage):
        raise BeastError(f"is no recording: {first.reason}", where=str(path))
    if not first or not isinstance(first[0], Head):
        raise BeastError("is no recording: it has no head", where=str(path))
    if first[0].format != FORMAT:
        raise BeastError(f"has format {first[0].format}; this Beast reads {FORMAT}", where=str(path))
    return first[0]


def find_parts(paths: Sequence[Path]) -> list[Part]:
    """The files that are meant, a folder standing for all of its files, in the order in which they were recorded.

    Raises:
        BeastError: One can't be read, there is none, or they are not of one recording.
    """
    files = [file for path in paths for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    parts = sorted((Part(file, read_head(file)) for file in files), key=lambda part: part.head.part)
    where = ", ".join(map(str, paths))
    if not parts:
        raise BeastError("holds no recording", where=where, todo=f"their names end in {SUFFIX}")
    if len({part.head.recording for part in parts}) > 1:
        raise BeastError("more than one recording is there", where=where, todo="name the files of one")
    if len({part.head.part for part in parts}) < len(parts):
        raise BeastError("a file is there twice", where=where)
    return parts
