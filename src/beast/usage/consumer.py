"""Books batches: a group of them in one transaction, each exactly once, whoever brings them and however often.

The identities go in first. PostgreSQL lets one of two transactions insert the same; the other waits, and finds it
there. Everything that a batch changes is in the transaction that inserted its identity, so that either all of it has
happened or nothing, and a repeat changes nothing.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from beast.accounts.months import utc
from beast.base.clock import Clock, SystemClock
from beast.storage.database import Database, RejectedError
from beast.usage.codec import TYPE, open_envelope, seal, type_of, unpack
from beast.usage.records import Sum, copy_rows, sums_of
from beast.usage.store import Booking, Counts, HourCount, KeyCount, NewBatch, UsageStore
from beast.usage.types import HOUR_NS, Batch, Fate, Identity, MalformedError, Outcome, hour_of

if TYPE_CHECKING:
    from datetime import date, datetime

GROUP_RECORDS = 100_000
"""A transaction books about so many: a key change must not wait longer than a fraction of a second behind it."""
EARLIEST = 50 * 365 * 24
"""Hours since 1970: 2019. What is older is of a clock that was never set."""
AHEAD = 48
"""Hours. A record from further in the future is of a broken clock, and would make partitions for centuries."""

OTHER_CONTENT = "has been booked with other content"

_BOOKED, _REPEATED = Outcome(Fate.BOOKED), Outcome(Fate.REPEATED)
_CLOCK = SystemClock()

log = structlog.get_logger(__name__)

_Item = TypeVar("_Item")


class Opened(msgspec.Struct, frozen=True):
    """A batch made ready to be booked."""

    new: NewBatch
    batch: Batch
    rows: bytes
    sums: list[Sum]


class Dead(msgspec.Struct, frozen=True):
    """What can't be booked, ever."""

    reason: str
    kind: str
    body: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body: the same letter is kept once."""
        return sha256(self.body).digest()


class _UnfitError(Exception):
    """At least one of several batches can't be booked; one by one they show which."""


class _GoneError(Exception):
    """Somebody else has deleted or booked this letter."""


async def consume(database: Database, envelopes: Sequence[bytes], clock: Clock = _CLOCK) -> list[Outcome]:
    """Books the batches in envelopes; one outcome for each, in their order.

    Raises:
        DatabaseUnavailableError: Some were not booked, or it is not known whether they were: bring all again.
    """
    now_ns = clock.wall_ns()
    opened = await asyncio.to_thread(lambda: [_open_envelope(body, now_ns) for body in envelopes])
    return await _settle(database, opened)


async def book(database: Database, batches: Sequence[Batch], clock: Clock = _CLOCK) -> list[Outcome]:
    """Books batches; one outcome for each, in their order.

    Raises:
        DatabaseUnavailableError: Some were not booked, or it is not known whether they were: bring all again.
    """
    now_ns = clock.wall_ns()
    opened = await asyncio.to_thread(lambda: [_open(batch, now_ns) for batch in batches])
    return await _settle(database, opened)


async def rebook(database: Database, number: int, clock: Clock = _CLOCK) -> Outcome | None:
    """Tries a dead letter again. Booked, or found to be booked, it is one no longer: both happens at once.

    Returns:
        What became of it; dead, and nothing has changed, when it still can't be booked. None: there is no such letter.

    Raises:
        DatabaseUnavailableError: Nothing was booked, or it is not known whether it was: try again.
    """
    body = await UsageStore(database).dead_letter(number)
    if body is None:
        return None
    opened = await asyncio.to_thread(_open_envelope, body, clock.wall_ns())
    if isinstance(opened, Dead):
        return Outcome(Fate.DEAD, opened.reason)
    day, identity = opened.new.hour.date(), opened.new.identity
    await UsageStore(database).make_partitions(day, day)
    try:
        async with database.transaction() as connection:
            booking = Booking(connection)
            new, known = await _book_new(booking, {identity: opened})
            if known[identity] != opened.new.digest:
                raise _UnfitError(OTHER_CONTENT)
            if not await booking.unbury(number):
                raise _GoneError
    except _GoneError:
        return None
    except (_UnfitError, RejectedError) as error:
        return Outcome(Fate.DEAD, f"{identity} {error}")
    return _BOOKED if new else _REPEATED


async def bury(database: Database, batch: Batch, reason: str) -> None:
    """Makes a batch that will never reach a consumer a dead letter; once, however often it is told.

    Raises:
        DatabaseUnavailableError: It is not known whether it is one.
    """
    await _bury(database, Dead(f"{batch.identity} {reason}", TYPE, seal(batch)))


async def _settle(database: Database, opened: Sequence[Opened | Dead]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for group in grouped(opened, [each.batch.records if isinstance(each, Opened) else 1 for each in opened]):
        outcomes += await _book_group(database, group)
    return outcomes


def grouped(items: Sequence[_Item], records: Sequence[int]) -> Iterator[Sequence[_Item]]:
    """Cuts `items` into runs of about GROUP_RECORDS records, at least one item each."""
    start = total = 0
    for at, count in enumerate(records):
        if at > start and total + count > GROUP_RECORDS:
            yield items[start:at]
            start, total = at, 0
        total += count
    if items:
        yield items[start:]


async def _book_group(database: Database, group: Sequence[Opened | Dead]) -> list[Outcome]:
    store = UsageStore(database)
    for day in sorted({each.new.hour.date() for each in group if isinstance(each, Opened)}):
        await store.make_partitions(day, day)
    try:
        return await _book_at_once(database, group)
    except (_UnfitError, RejectedError) as error:
        if len(group) == 1:
            return [await _bury(database, _refused(group[0], str(error)))]
        log.warning("usage.one_by_one", batches=len(group), reason=str(error))
        return [outcome for each in group for outcome in await _book_group(database, [each])]


async def _book_at_once(database: Database, group: Sequence[Opened | Dead]) -> list[Outcome]:
    first: dict[Identity, Opened] = {}
    for each in group:
        if isinstance(each, Opened):
            first.setdefault(each.new.identity, each)
    async with database.transaction() as connection:
        booking = Booking(connection)
        new, known = await _book_new(booking, first)
        judged: list[Outcome | Dead] = []
        for each in group:
            if isinstance(each, Dead):
                judged.append(each)
            elif known[each.new.identity] != each.new.digest:
                judged.append(_refused(each, OTHER_CONTENT))
            else:
                is_new = each.new.identity in new and first[each.new.identity] is each
                judged.append(_BOOKED if is_new else _REPEATED)
        # Each consumer in the same order, so that two can't deadlock over the same letters.
        for dead in sorted((each for each in judged if isinstance(each, Dead)), key=lambda each: each.digest):
            await _keep(booking, dead)
    return [Outcome(Fate.DEAD, each.reason) if isinstance(each, Dead) else each for each in judged]


async def _book_new(
    booking: Booking, batches: Mapping[Identity, Opened]
) -> tuple[set[Identity], dict[Identity, bytes]]:
    """Books those whose identity is new; returns which that are, and the digest by which the table knows each."""
    new = await booking.insert([each.new for each in batches.values()])
    known = await booking.digests([identity for identity in batches if identity not in new])
    known |= {identity: batches[identity].new.digest for identity in new}
    chosen = [each for identity, each in batches.items() if identity in new]
    await _check_fit(booking, [each.new for each in chosen])
    if chosen:
        await booking.copy(each.rows for each in chosen)
        await booking.count(await asyncio.to_thread(_counts, chosen))
    return new, known


async def _check_fit(booking: Booking, inserted: Sequence[NewBatch]) -> None:
    if shared := await booking.overlapping(inserted):
        raise _UnfitError(f"shares records with another batch: {min(shared)}")
    # Asked for after the insertion: whoever moves the horizon and deletes identities does both at once.
    horizon = await booking.horizon()
    if any(each.hour < horizon for each in inserted):
        raise _UnfitError(f"is older than {horizon}: whether it was booked before is no longer known")


async def _bury(database: Database, dead: Dead) -> Outcome:
    async with database.transaction() as connection:
        await _keep(Booking(connection), dead)
    return Outcome(Fate.DEAD, dead.reason)


async def _keep(booking: Booking, dead: Dead) -> None:
    if await booking.bury(dead.body, reason=dead.reason, kind=dead.kind, digest=dead.digest):
        log.error("usage.dead_letter", reason=dead.reason, type=dead.kind, bytes=len(dead.body))


def _refused(each: Opened | Dead, reason: str) -> Dead:
    return each if isinstance(each, Dead) else Dead(f"{each.new.identity} {reason}", TYPE, seal(each.batch))


def _open_envelope(body: bytes, now_ns: int) -> Opened | Dead:
    try:
        return _open(open_envelope(body), now_ns, body)
    except MalformedError as error:
        return Dead(str(error), type_of(body), body)


def _open(batch: Batch, now_ns: int, body: bytes | None = None) -> Opened | Dead:
    """Decodes, checks and adds up. Runs on a thread."""
    try:
        records = unpack(batch)
        sums = sums_of(records)
        if len({each.hour for each in sums}) > 1:
            raise MalformedError("its records are not of one hour", where=str(batch.identity))
        if not EARLIEST <= sums[0].hour <= now_ns // HOUR_NS + AHEAD:
            raise MalformedError(f"its records are {sums[0].hour} hours after 1970", where=str(batch.identity))
        hour = hour_of(sums[0].hour)
        rows = copy_rows(batch, records)
    except MalformedError as error:
        return Dead(str(error), TYPE, seal(batch) if body is None else body)
    return Opened(NewBatch(batch.identity, batch.last, batch.digest(), hour), batch, rows, sums)


def _counts(chosen: Sequence[Opened]) -> Counts:
    """What all these come to. Of a key only its newest month counts: of what is older its row no longer tells."""
    hours: dict[tuple[datetime, int], int] = {}
    newest: dict[int, tuple[date, int, int]] = {}
    for each in chosen:
        hour = each.new.hour
        month = hour.date().replace(day=1)
        for found in each.sums:
            hours[hour, found.key_id] = hours.get((hour, found.key_id), 0) + found.answers
            kept, answers, last_ns = newest.get(found.key_id, (month, 0, 0))
            if month > kept:
                kept, answers = month, 0
            answers += found.answers if month == kept else 0
            newest[found.key_id] = kept, answers, max(last_ns, found.last_ns)
    return Counts.of(
        [KeyCount(key, answers, month, utc(last_ns)) for key, (month, answers, last_ns) in newest.items()],
        [HourCount(hour, key, answers) for (hour, key), answers in hours.items()],
    )
