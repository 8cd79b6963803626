"""What is watched and numbered (channels), and the lists of it that clients follow (selections)."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from beast.http.stream.session import Session

SEQ_DIGITS = 20
"""No numbering comes so far; and Python would not convert thousands of digits."""

Form = Callable[[bytes, bytes], bytes]
"""Makes the bytes of one event, of its data and its id, as one kind of client wants them."""


class Channel:
    """One asset, of one exchange or the best: its newest event, whose `seq` is one more than that of the one before.

    Args:
        asset: As the catalogue writes it.
        exchange: Lower-case; None: whichever answers best.
        number: Its place in the Watch.
    """

    __slots__ = ("asset", "body", "exchange", "left_ns", "number", "read_ns", "selections", "seq", "token")

    def __init__(self, asset: str, exchange: str | None, number: int) -> None:
        self.asset = asset
        self.exchange = exchange
        self.number = number
        self.token = secrets.token_hex(4)
        """Another one whenever numbering begins anew, so that an id of an earlier numbering is known as such."""
        self.seq = 0
        self.body = b""
        self.read_ns = 0
        """When `body`, and the age that it tells, was read."""
        self.selections: set[Selection] = set()
        self.left_ns = 0
        """Since when nobody follows it."""

    def data(self, missed: int | None) -> bytes:
        """The event's JSON: the price's own object, then its id, its number and what was left out before it."""
        told = b"null" if missed is None else b"%d" % missed
        return b'%b,"id":"%b","seq":%d,"missed":%b}' % (
            self.body[:-1],
            event_id(self.token, [self.seq]),
            self.seq,
            told,
        )


class Step(NamedTuple):
    """What brings a client from what it has seen to now."""

    payload: bytes
    seen: tuple[int, ...]
    events: int
    missed: int


class Selection:
    """The channels that one client asked for, shared by all that asked for the same in the same form.

    Whoever has seen the same gets the very same bytes, so that they are made once however many clients there are.
    """

    __slots__ = ("_steps", "channels", "form", "sessions", "token")

    def __init__(self, channels: tuple[Channel, ...], form: Form) -> None:
        self.channels = channels
        self.form = form
        self.token = joined_token([channel.token for channel in channels])
        self.sessions: dict[Session, None] = {}
        self._steps: dict[tuple[int, ...], Step] = {}

    @property
    def now(self) -> tuple[int, ...]:
        """What a client has seen that has seen everything."""
        return tuple(channel.seq for channel in self.channels)

    def step(self, seen: tuple[int, ...], freshen: Callable[[Channel], None]) -> Step:
        """The way from `seen` to now; `freshen` brings a channel's age up to date before it is told."""
        step = self._steps.get(seen)
        if step is None:
            step = self._steps[seen] = self._make_step(seen, freshen)
        return step

    def _make_step(self, seen: tuple[int, ...], freshen: Callable[[Channel], None]) -> Step:
        told: list[int | None] = list(seen)
        parts, missed = [], 0
        for at, channel in enumerate(self.channels):
            if channel.seq != seen[at]:
                freshen(channel)
                skip = channel.seq - seen[at] - 1
                missed += skip
                told[at] = channel.seq
                parts.append(self.form(channel.data(skip), event_id(self.token, told)))
        return Step(b"".join(parts), self.now, len(parts), missed)

    def forget_steps(self) -> None:
        """They are good for one round: then the ages in them are old."""
        self._steps.clear()

    def opening(self, since: Sequence[int | None] | None) -> Step:
        """Everything as it is now, for a client that comes anew, or back having seen `since` (None: nobody knows)."""
        told: list[int | None] = list(self.now if since is None else since)
        parts, missed = [], 0
        for at, channel in enumerate(self.channels):
            skip = 0 if since is None else skipped(channel.seq, since[at])
            missed += skip or 0
            told[at] = channel.seq
            parts.append(self.form(channel.data(skip), event_id(self.token, told)))
        return Step(b"".join(parts), self.now, len(parts), missed)

    def read_id(self, text: str) -> list[int | None]:
        """What a client has seen that shows this id; an id of another numbering or of other assets says nothing."""
        return read_event_id(text, self.token, len(self.channels))


def event_id(token: str, seqs: Iterable[int | None]) -> bytes:
    """How far a client has come: the number of the last event that it has seen of each channel, empty if unknown."""
    return "-".join([token, *("" if seq is None else str(seq) for seq in seqs)]).encode()


def read_event_id(text: str, token: str, count: int) -> list[int | None]:
    """The numbers of an id made by event_id(); all None when it wasn't made with this token."""
    head, *numbers = text.split("-")
    if head != token or len(numbers) != count:
        return [None] * count
    return [int(each) if each.isascii() and each.isdigit() and len(each) < SEQ_DIGITS else None for each in numbers]


def skipped(seq: int, seen: int | None) -> int | None:
    """How many events lie between `seen` and `seq`, the one that is told now; None when `seen` can't be true."""
    if seen is None or seen > seq:
        return None
    return max(0, seq - seen - 1)


def joined_token(tokens: Sequence[str]) -> str:
    """The token of several channels in this order; of one its own."""
    return tokens[0] if len(tokens) == 1 else blake2b("-".join(tokens).encode(), digest_size=4).hexdigest()
