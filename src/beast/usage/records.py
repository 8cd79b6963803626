"""Packed usage records: cut into runs that are fit for a batch, added up, and written as rows."""

from collections.abc import Iterator, Sequence

import msgspec

from beast._fast import sum_usage, usage_copy_rows, usage_runs
from beast.usage.types import BATCH_RECORDS, HOUR_NS, RECORD_BYTES, Batch, MalformedError


class Sum(msgspec.Struct, frozen=True):
    """Answers to one key within one hour."""

    key_id: int
    hour: int
    """Of UTC, since 1970."""
    answers: int
    last_ns: int
    """When the last of them was asked for."""


class Run(msgspec.Struct, frozen=True):
    """Records that make one batch: of one lane, with consecutive sequence numbers, all of one hour."""

    lane: int
    first: int
    records: bytes
    sums: Sequence[Sum]

    @property
    def last(self) -> int:
        """The last record's sequence number."""
        return self.first + len(self.records) // RECORD_BYTES - 1


def sums_of(records: bytes) -> list[Sum]:
    """What the records come to, per key and hour."""
    return [Sum(*each) for each in sum_usage(records)]


def copy_rows(batch: Batch, records: bytes) -> bytes:
    """The records of a batch as rows of binary COPY.

    Raises:
        MalformedError: One can't be a row: its instrument has no name, or a member is out of its range.
    """
    names = {name.instrument: (name.asset, name.exchange) for name in batch.names}
    try:
        return usage_copy_rows(records, batch.node, batch.boot, names)
    except ValueError as error:
        raise MalformedError(str(error), where=str(batch.identity)) from None


def runs_of(records: bytes, longest: int = BATCH_RECORDS) -> Iterator[Run]:
    """Cuts records into runs of at most `longest`, in their order."""
    at = 0
    for lane, first, count in usage_runs(records):
        for start in range(0, count, longest):
            length = min(longest, count - start)
            piece = records[(at + start) * RECORD_BYTES : (at + start + length) * RECORD_BYTES]
            yield from _by_hour(lane, first + start, piece)
        at += count


def _by_hour(lane: int, first: int, records: bytes) -> Iterator[Run]:
    sums = sums_of(records)
    if len({each.hour for each in sums}) == 1:
        yield Run(lane, first, records, sums)
        return
    # Once an hour, and when the clock was set.
    hours = [time_ns // HOUR_NS for time_ns in memoryview(records).cast("q")[:: RECORD_BYTES // 8]]
    cuts = [at for at in range(1, len(hours)) if hours[at] != hours[at - 1]]
    for start, end in zip([0, *cuts], [*cuts, len(hours)], strict=True):
        piece = records[start * RECORD_BYTES : end * RECORD_BYTES]
        yield Run(lane, first + start, piece, sums_of(piece))
