"""Batch ⇄ bytes: records become a batch, a batch becomes the envelope that travels through a queue."""

from collections.abc import Iterable, Mapping

import msgspec
import zstandard

from beast._fast import decode_usage, encode_usage, usage_instruments, usage_runs
from beast.usage.records import Run, runs_of
from beast.usage.types import BATCH_RECORDS, RECORD_BYTES, Batch, MalformedError, Name

VERSION = 1
"""Of the payload. A consumer that does not know a version dead-letters it, whole."""
TYPE = "usage"
ENCODED_MAX = 128
"""Bytes that one encoded record takes at most, generously: what claims more is refused before it is unpacked."""
LEVEL = 3
UNKNOWN = ("UNKNOWN", "unknown")
"""Asset and exchange of an instrument that nobody has told the name of."""


class Payload(Batch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload of an envelope of type `usage`."""

    version: int = VERSION


class Versioned(msgspec.Struct, frozen=True):
    """Whatever else a payload holds."""

    version: int


class Envelope(msgspec.Struct, frozen=True):
    """What every message of the queue looks like."""

    type: str
    payload: msgspec.Raw


class Sealed(msgspec.Struct, frozen=True):
    """The same on its way out."""

    type: str
    payload: Payload


class UnknownTypeError(MalformedError):
    """An envelope of a type, or a version, that this consumer does not know."""


_ENVELOPE = msgspec.json.Decoder(Envelope)
_VERSION = msgspec.json.Decoder(Versioned)
_PAYLOAD = msgspec.json.Decoder(Payload)


def pack(run: Run, *, node: str, boot: int, names: Mapping[int, Name]) -> Batch:
    """One batch of a run.

    Args:
        run: The records.
        node: Who has made them.
        boot: When that server was started, in ns since 1970.
        names: What its instruments mean. One that is not in there is called UNKNOWN: the answer was given all the same.
    """
    return Batch(
        node=node,
        boot=boot,
        lane=run.lane,
        first=run.first,
        last=run.last,
        names=tuple(names.get(number) or Name(number, *UNKNOWN) for number in usage_instruments(run.records)),
        # A compressor of its own: this runs on several threads.
        data=zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(encode_usage(run.records)),
    )


def unpack(batch: Batch) -> bytes:
    """The records of a batch, of 48 bytes each.

    Raises:
        MalformedError: The bytes are damaged, or are not the records that the batch says it holds.
    """
    if not 1 <= batch.records <= BATCH_RECORDS:
        raise MalformedError(f"{batch.records} records are no batch", where=str(batch.identity))
    try:
        # What unpacks to more than it may is refused by what its frame says, before any room is made for it.
        size = zstandard.frame_content_size(batch.data)
        if not 0 < size <= batch.records * ENCODED_MAX:
            raise ValueError(f"{size} bytes for {batch.records} records")
        records = decode_usage(zstandard.ZstdDecompressor().decompress(batch.data, allow_extra_data=False))
    except (ValueError, zstandard.ZstdError) as error:
        raise MalformedError(f"can't be decoded: {error}", where=str(batch.identity)) from None
    if usage_runs(records) != [(batch.lane, batch.first, batch.records)]:
        raise MalformedError("its records are others than it says", where=str(batch.identity))
    return records


def halves(batch: Batch) -> list[Batch]:
    """The same records as two batches: always the same two, so that a repeat is seen to be one.

    Raises:
        MalformedError: They can't be read.
        ValueError: It is only one record.
    """
    if batch.records <= 1:
        raise ValueError("one record has no halves")
    records, middle = unpack(batch), batch.records // 2 * RECORD_BYTES
    names = {name.instrument: name for name in batch.names}
    return [
        pack(run, node=batch.node, boot=batch.boot, names=names)
        for half in (records[:middle], records[middle:])
        for run in runs_of(half)
    ]


def seal(batch: Batch) -> bytes:
    """The envelope of a batch: one line of JSON."""
    return msgspec.json.encode(Sealed(TYPE, Payload(**msgspec.structs.asdict(batch))))


def open_envelope(body: bytes) -> Batch:
    """The batch in an envelope. Its data are not unpacked yet.

    Raises:
        UnknownTypeError: It is of another type or version.
        MalformedError: It is no envelope, or its payload no batch.
    """
    try:
        envelope = _ENVELOPE.decode(body)
        if envelope.type != TYPE:
            raise UnknownTypeError(f"envelopes of type {envelope.type[:64]!r} are unknown", where="envelope")
        version = _VERSION.decode(envelope.payload).version
        if version != VERSION:
            raise UnknownTypeError(f"version {version} is unknown", where="envelope")
        payload = _PAYLOAD.decode(envelope.payload)
        return Batch(**{name: getattr(payload, name) for name in Batch.__struct_fields__})
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"is no envelope: {error}", where="envelope") from None


def type_of(body: bytes) -> str:
    """The type that an envelope says it has; empty when it says none."""
    try:
        return _ENVELOPE.decode(body).type[:64]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def total(batches: Iterable[Batch]) -> int:
    """How many records these are."""
    return sum(batch.records for batch in batches)
