"""Where batches go from the spool, and where a consumer gets them from."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from beast.usage.types import Batch, Identity


class Sink(Protocol):
    """Takes batches over. What it has acknowledged, it will not lose."""

    @property
    def books(self) -> bool:
        """Whether acknowledged means booked in the tables, not only on the way to a consumer."""

    @property
    def longest(self) -> int:
        """At most so many records may be in a batch that is made for it, BATCH_RECORDS or fewer."""

    @property
    def timed(self) -> bool:
        """Whether it keeps to `sqs_timeout_ms` by itself, call by call; otherwise it is cancelled then."""

    async def put(self, batches: Sequence[Batch]) -> Sequence[Identity]:
        """Takes over what it can, in any order, and returns the acknowledged ones; the others are put again later.

        A batch may come twice. Cancelled, it may have taken any of them.

        Raises:
            BeastError: None was taken, and this is why. A failure of some of them raises nothing.
        """


class Message(msgspec.Struct, frozen=True):
    """One envelope, as it came from a queue."""

    body: bytes
    receipt: str
    """What the queue knows it by."""


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How much a queue says is in it. SQS only estimates; nothing is concluded from it."""

    queue: str
    messages: int | None = None
    """That wait to be received; null: it could not be asked."""
    in_flight: int | None = None
    """Received, and neither booked nor given back yet."""
    error: str = ""
    """Why it could not be asked."""

    @property
    def told(self) -> str:
        """In words."""
        return self.error or f"about {self.messages} messages wait, about {self.in_flight} are being booked"


class Source(Protocol):
    """A queue of envelopes, seen from the consumer's end. It may bring a message twice, and in any order."""

    async def receive(self) -> Sequence[Message]:
        """Some messages; waits a while for the first and is empty when there was none.

        Raises:
            BeastError: The queue can't be asked now.
        """

    async def acknowledge(self, messages: Sequence[Message]) -> None:
        """These need not come again. Those that it fails for will.

        Raises:
            BeastError: The queue can't be told now.
        """

    async def release(self, messages: Sequence[Message]) -> None:
        """These may come again at once, to whoever asks.

        A queue that can't be told now brings them when their time is up.
        """
