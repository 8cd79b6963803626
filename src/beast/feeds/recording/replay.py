"""Plays a recording: the frames go the way that they went, by the recorded clock alone.

Nothing here reads a clock, asks the network or depends on an order that Python doesn't promise: the same files give
the same prices and states, byte for byte.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from beast._fast import Engine, Ingest, Plan, Watch
from beast.base.errors import BeastError
from beast.feeds.recording.file import (
    Backfill,
    Damage,
    Doubted,
    End,
    Epoch,
    Event,
    Forgotten,
    Frame,
    Gap,
    Head,
    Instruments,
    LinkDoubted,
    LinkDown,
    LinkProven,
    LinkUp,
    Opened,
    Parameters,
    Part,
    Replanned,
    Rows,
    Swept,
    Symbols,
    read_blocks,
)
from beast.feeds.rows.plan import compile_plan
from beast.feeds.types import Feed

LEAP_NS: Final = 7 * 86_400 * 10**9
"""No two events of a recording are further apart than this."""
_INSTRUMENTS_MAX: Final = 1 << 20


class Change(msgspec.Struct, frozen=True):
    """What a market has come to. No price: what it had counts no more."""

    at_ns: int
    """Ns since 1970 by the recorded clock."""
    exchange: str
    asset: str
    currency: str
    price: str | None
    time_ns: int | None
    """The trade's own time, in ns since 1970."""
    state: str | None


class Told(msgspec.Struct):
    """What came of playing."""

    frames: int = 0
    missing: int = 0
    """Frames that the recording says it lost."""
    first_ns: int = 0
    last_ns: int = 0
    """Ns since 1970 of the first and the last event."""
    ended: bool = False
    """Whether the recording was ended in order."""
    damage: str = ""
    """Where it was damaged, and how."""


class _Reader:
    """What reads the frames of a link."""

    def __init__(self, engine: Engine, opened: Opened, feed: Feed) -> None:
        self.opened = opened
        self.ingest = Ingest(engine, Plan(compile_plan(feed)), opened.link, backfill_ns=opened.backfill_ns)

    def set_feed(self, feed: Feed) -> None:
        self.ingest.set_plan(Plan(compile_plan(feed)))


class Digest:
    """A SHA-256 over changes: a line for each, its members as JSON strings and numbers, in an array."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, change: Change) -> None:
        """One more."""
        self._hash.update(msgspec.json.encode(msgspec.structs.astuple(change)) + b"\n")

    def __str__(self) -> str:
        return self._hash.hexdigest()


class Replay:
    """One recording, played once.

    Args:
        parts: Its files, in order.
        every_ms: Between two looks at all states by the recorded clock; 0: none but the last.
        watch: Whether changes of prices are told as they come.
        until_ns: Stop before the first event after this, in ns since 1970; all of it unless given.
    """

    def __init__(
        self, parts: Sequence[Part], *, every_ms: int = 1000, watch: bool = True, until_ns: int | None = None
    ) -> None:
        head = parts[0].head
        if not 1 <= head.max_instruments <= _INSTRUMENTS_MAX:
            raise BeastError(f"{head.max_instruments} places are too many", where=str(parts[0].path))
        self.told = Told()
        self.engine = Engine(node="replay", max_instruments=head.max_instruments, max_keys=1024, usage_ring=1024)
        self.now_ns = head.at_ns
        """By the recorded clock: CLOCK_MONOTONIC."""
        self._parts = parts
        self._offset_ns = head.wall_ns - head.monotonic_ns
        self._every_ns = every_ms * 10**6
        self._due_ns = head.at_ns + self._every_ns
        self._watch = watch
        self._until_ns = None if until_ns is None else until_ns - self._offset_ns
        self._feeds = dict[str, Feed]()
        self._readers: dict[int, _Reader] = {}
        self._epochs: dict[tuple[int, int], int] = {}
        self._markets: dict[int, tuple[str, str, str]] = {}
        self._places = Watch(self.engine)
        self._numbers: list[int] = []
        self._told: dict[tuple[str, str], tuple[str, int, str]] = {}

    @property
    def wall_ns(self) -> int:
        """The recorded time, in ns since 1970."""
        return self.now_ns + self._offset_ns

    def play(self) -> Iterator[Change]:
        """What changes, in order; at the end `told` says what came of it.

        Raises:
            BeastError: The recording contradicts itself.
        """
        self.told.first_ns = self.wall_ns
        for event in self._events():
            if self._until_ns is not None and event.at_ns > self._until_ns:
                self.now_ns = self._until_ns
                break
            yield from self._pass_time(event.at_ns)
            try:
                self._apply(event)
            except (ValueError, KeyError, OverflowError) as error:
                raise BeastError(f"contradicts itself: {event.__class__.__name__}: {error!r}", where="replay") from None
            if self._watch and isinstance(event, Frame):
                yield from self._tell(self._readers[event.reader].ingest.touched())
        self.told.last_ns = self.wall_ns
        yield from self.look()

    def look(self) -> Iterator[Change]:
        """What has changed in any market since it was last told, by the state as it is now."""
        gone = self._told.keys() - {(exchange, asset) for exchange, asset, _ in self._markets.values()}
        for exchange, asset in sorted(gone):
            del self._told[exchange, asset]
            yield Change(self.wall_ns, exchange, asset, "", None, None, None)
        seen = self._places.look(0, len(self._places), self.now_ns)
        yield from self._tell([self._numbers[place] for place, _ in seen])

    def markets(self) -> list[Change]:
        """What every market has, by exchange and asset."""
        found = []
        for number, (exchange, asset, currency) in self._markets.items():
            held = self._held(number) or (None, None, None)
            found.append(Change(self.wall_ns, exchange, asset, currency, *held))
        return sorted(found, key=lambda market: (market.exchange, market.asset))

    def _events(self) -> Iterator[Event]:
        """All files' events. What a file repeats from the one before is left out if that one is whole."""
        before: Head | None = None
        for path, head in self._parts:
            follows = before is not None and head.part == before.part + 1 and not self.told.damage
            self._check_follows(before, head, follows=follows)
            before = head
            with path.open("rb") as file:
                for number, block in enumerate(read_blocks(file)):
                    if isinstance(block, Damage):
                        self.told.damage = f"{path.name}: byte {block.offset}: {block.reason}"
                        break
                    # The first block holds the head and what it stands on, nothing else.
                    yield from () if number == 0 and follows else block

    def _check_follows(self, before: Head | None, head: Head, *, follows: bool) -> None:
        if before is not None and not follows and not self.told.damage:
            self.told.damage = f"part {before.part + 1} of the recording is not there, {head.part} is"

    def _pass_time(self, at_ns: int) -> Iterator[Change]:
        if at_ns - self.now_ns > LEAP_NS:
            raise BeastError(f"leaps over {(at_ns - self.now_ns) // 10**9} s", where="replay")
        while self._every_ns and self._due_ns <= at_ns:
            self.now_ns = max(self.now_ns, self._due_ns)
            self._due_ns += self._every_ns
            yield from self.look()
        self.now_ns = max(self.now_ns, at_ns)

    def _tell(self, numbers: Sequence[int]) -> Iterator[Change]:
        for number in numbers:
            if number not in self._markets:  # Its symbol is mapped still, its place is gone.
                continue
            exchange, asset, currency = self._markets[number]
            held, before = self._held(number), self._told.get((exchange, asset))
            if held == before:
                continue
            if held is None:
                del self._told[exchange, asset]
                yield Change(self.wall_ns, exchange, asset, currency, None, None, None)
            else:
                self._told[exchange, asset] = held
                yield Change(self.wall_ns, exchange, asset, currency, *held)

    def _held(self, number: int) -> tuple[str, int, str] | None:
        held = self.engine.peek(number, self.now_ns)
        return (str(held["price"]), int(str(held["time_ns"])), str(held["state"])) if held else None

    def _apply(self, event: Event) -> None:
        match event:
            case Frame(at_ns, reader, wall_ns, raw):
                self.told.frames += 1
                self._readers[reader].ingest.feed(raw, at_ns, wall_ns)
            case Swept(at_ns):
                self.engine.sweep(at_ns)
            case Instruments(_, rows):
                self.engine.load_instruments(rows)
                self._markets = {row[0]: (row[2], row[1], row[3]) for row in rows}
                self._watch_markets()
            case Rows(_, exchanges):
                self._feeds = {exchange.feed.name: exchange.feed for exchange in exchanges}
            case Parameters():
                self._apply_rules(event)
            case Gap(_, missing):
                self.told.missing += missing
            case End():
                self.told.ended = True
            case Forgotten() | Doubted():
                self._apply_to_market(event)
            case LinkUp() | LinkProven() | LinkDown() | LinkDoubted():
                self._apply_to_link(event)
            case _:
                self._apply_to_reader(event)

    def _apply_to_market(self, event: Forgotten | Doubted) -> None:
        if isinstance(event, Forgotten):
            self.engine.forget(event.instrument)
        else:
            self.engine.doubt(event.instrument)

    def _apply_rules(self, rules: Parameters) -> None:
        self.engine.set_ttl_ms(rules.ttl_ms)
        self.engine.set_live_without_link_ms(rules.live_without_link_ms)
        self.engine.set_price_rules(
            band_bps=rules.band_bps,
            confirmations=rules.confirmations,
            quorum=rules.quorum,
            outlier_bps=rules.outlier_bps,
        )

    def _watch_markets(self) -> None:
        """Has the engine say whose state has changed: asking each market would take most of the time."""
        self._places = Watch(self.engine)
        self._numbers = sorted(self._markets)
        for number in self._numbers:
            exchange, asset, _ = self._markets[number]
            self._places.add(asset, exchange)

    def _apply_to_link(self, event: LinkUp | LinkProven | LinkDown | LinkDoubted) -> None:
        match event:
            case LinkUp(at_ns, link, patience_ns, epoch):
                self._epochs[link, epoch] = self.engine.link_up(link, patience_ns, at_ns)
            case LinkDoubted(_, link, epoch):
                self._epochs[link, epoch] = self.engine.link_doubt(link)
            case LinkProven(at_ns, link):
                self.engine.link_proven(link, at_ns)
            case LinkDown(_, link):
                self.engine.link_down(link)

    def _apply_to_reader(self, event: Event) -> None:
        match event:
            case Opened(_, reader, exchange):
                self._readers[reader] = _Reader(self.engine, event, self._feeds[exchange])
            case Symbols(_, reader, symbols):
                self._readers[reader].ingest.set_symbols(symbols)
            case Replanned(_, reader):
                played = self._readers[reader]
                played.set_feed(self._feeds[played.opened.exchange])
            case Backfill(_, reader, backfill_ns):
                self._readers[reader].ingest.set_backfill_ns(backfill_ns)
            case Epoch(_, reader, epoch):
                played = self._readers[reader]
                played.ingest.set_epoch(self._epochs[played.opened.link, epoch])
