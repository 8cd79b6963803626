"""What travels from the workers' rings to the tables: batches of usage records."""

from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from beast.base.errors import BeastError

RECORD_BYTES = 48
"""sizeof(beast_usage), see _fast/c/usage_record.h."""
BATCH_RECORDS = 1 << 15
"""At most so many records make one batch."""
HOUR_NS = 3_600_000_000_000

Int63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Sequence63 = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Text = Annotated[str, Meta(min_length=1, max_length=64)]


class MalformedError(BeastError):
    """Bytes that are no batch, or not the batch that they say they are."""


class Identity(msgspec.Struct, frozen=True, order=True):
    """Names one batch for ever: no record is in two batches."""

    node: str
    boot: int
    """CLOCK_REALTIME when that server was started, in ns."""
    lane: int
    first: int
    """The first record's sequence number."""


class Name(msgspec.Struct, frozen=True, array_like=True, order=True):
    """What an instrument's number meant when the batch was made."""

    instrument: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    asset: Text
    exchange: Text


class Batch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Records of one lane with consecutive sequence numbers, all of one hour of UTC."""

    node: Text
    boot: Int63
    lane: Annotated[int, Meta(ge=0, le=255)]
    first: Sequence63
    last: Sequence63
    names: tuple[Name, ...]
    """Of every instrument in the records, by its number."""
    data: bytes
    """The records, encoded and compressed, see beast.usage.codec."""

    @property
    def identity(self) -> Identity:
        """Which batch this is."""
        return Identity(self.node, self.boot, self.lane, self.first)

    @property
    def records(self) -> int:
        """How many it holds."""
        return self.last - self.first + 1

    def digest(self) -> bytes:
        """SHA-256 of the content: the same identity with another digest is an alarm."""
        return sha256(msgspec.json.encode(self.names) + self.data).digest()


class Fate(StrEnum):
    """What became of an envelope. Each of them means that it need not come again."""

    BOOKED = "booked"
    REPEATED = "repeated"
    """It had been booked before; nothing changed."""
    DEAD = "dead"
    """It can't be booked, ever; it is in usage_dead_letters."""


class Outcome(msgspec.Struct, frozen=True):
    """What the consumer says of one envelope."""

    fate: Fate
    reason: str = ""
    """Why it is dead."""


def hour_of(hour: int) -> datetime:
    """The hour of UTC that is the `hour`th since 1970. Raises OverflowError or ValueError beyond the calendar."""
    return datetime.fromtimestamp(hour * 3600, UTC)
