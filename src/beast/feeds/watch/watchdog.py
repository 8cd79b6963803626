"""Looks at every connection and every symbol now and then: learns rhythms, notes gaps, revives what is dead.

What it does about a dead subscription is little and rare: the symbol is subscribed anew where the exchange can do that
for one, else its connection is replaced; each time twice as long after the last. Prices held stay held.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
import structlog

from beast._fast import Engine
from beast.base.clock import Clock
from beast.feeds.link.link import Link, Wired
from beast.feeds.manager import FeedManager
from beast.feeds.running import RunningExchange
from beast.feeds.turns import in_turns
from beast.feeds.watch.gaps import Gap, GapBook
from beast.feeds.watch.refill import Refill
from beast.feeds.watch.verdict import LIVELY_NS, Facts, Rhythm, State, Verdict, judge, judge_connection
from beast.prices.catalogue import Catalogue
from beast.prices.types import Instrument

LOOK_S: Final = 5.0
WINDOW_NS: Final = 6 * 3600 * 10**9
"""The longest silence of this window and of the one before is remembered."""
RETRY_NS: Final = 600 * 10**9
"""Between the first and the second attempt to revive a symbol, or a connection; then twice as long each time."""
DOUBLINGS: Final = 7
RESUBSCRIBE_MAX: Final = 20
"""Symbols subscribed anew in one look at a connection."""

Place = tuple[str, int, str]
"""(exchange, connection, symbol)."""

log = structlog.get_logger(__name__)


class Attempts:
    """How often something was tried in vain, and when it may be tried again."""

    def __init__(self) -> None:
        self.count = 0
        self.next_ns = 0

    def take(self, now_ns: int) -> bool:
        """Whether now is the time for a next one, which is then made."""
        if now_ns < self.next_ns:
            return False
        self.next_ns = now_ns + (RETRY_NS << min(self.count, DOUBLINGS))
        self.count += 1
        return True


class Seen:
    """What is remembered of one symbol from look to look. Times are CLOCK_MONOTONIC ns."""

    def __init__(self, now_ns: int) -> None:
        self.received_ns = 0
        self.attempts = Attempts()
        self.revivals = 0
        """Attempts in all."""
        self._silence_ns = 0
        self._epoch = 0
        self._longest_ns = [0, 0]
        self._window_ns = now_ns

    @property
    def longest_ns(self) -> int:
        """The longest silence of late that a trade ended."""
        return max(self._longest_ns)

    def revive(self, now_ns: int) -> bool:
        """Whether now is the time for another attempt, which is then made."""
        taken = self.attempts.take(now_ns)
        self.revivals += taken
        return taken

    def look(self, received_ns: int, epoch: int, now_ns: int) -> bool:
        """Learns from what is so now; whether there was a trade since the last look."""
        if now_ns - self._window_ns > WINDOW_NS:
            self._longest_ns = [0, self._longest_ns[0]]
            self._window_ns = now_ns
        traded = received_ns > self.received_ns
        if traded and self.received_ns and self._epoch == epoch and not self.attempts.count:
            # A silence during which nothing could come, or that we have ended, says nothing about the market.
            self._longest_ns[0] = max(self._longest_ns[0], self._silence_ns)
        self.received_ns = max(received_ns, self.received_ns)
        self._epoch = epoch
        self._silence_ns = now_ns - self.received_ns if self.received_ns else 0
        return traded


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol at this moment."""

    wired: Wired
    verdict: Verdict
    rhythm: Rhythm
    received_ns: int
    """Of its last trade; 0: none."""
    revivals: int
    held: int
    confirmed: int
    waiting: int


class Watchdog:
    """Watches the exchanges that run.

    Args:
        feeds: Them.
        engine: Where prices and links are.
        catalogue: Says what a symbol is called here.
        book: Takes gaps down.
        refill: Fills them.
        clock: The time.
    """

    def __init__(
        self, feeds: FeedManager, engine: Engine, catalogue: Catalogue, *, book: GapBook, refill: Refill, clock: Clock
    ) -> None:
        self.book = book
        self._feeds = feeds
        self._engine = engine
        self._catalogue = catalogue
        self._refill = refill
        self._clock = clock
        self._seen: dict[int, Seen] = {}
        self._cuts: dict[tuple[str, int], Attempts] = {}

    async def run(self) -> None:
        """Looks every LOOK_S seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """One look at everything."""
        wired: set[int] = set()
        for running in self._feeds.running:
            for number, link in list(running.links.items()):
                await self._look_at(running, number, link)
                wired.update(link.instruments)
        for gone in self._seen.keys() - wired:
            del self._seen[gone]

    async def watched(self, link: Link) -> list[Watched]:
        """How each symbol of a connection fares now."""
        now_ns = self._clock.monotonic_ns()
        told = {row[1]: row for row in link.sink.symbols()}
        up, _, proven_ns = self._engine.link_state(link.number)
        connection = link.connection
        listening_ns = now_ns - connection.opened_ns if connection else 0
        lively = sum(now_ns - row[3] <= LIVELY_NS for row in told.values() if row[3])
        found = []
        async for part in in_turns(list(link.wired)):
            for wired in part:
                _, _, trades, received_ns, interval_ns, deviation_ns, held, confirmed, waiting = told.get(
                    wired.instrument, (b"", 0, 0, 0, 0, 0, 0, 0, 0)
                )
                seen = self._seen.get(wired.instrument)
                received_ns = max(received_ns, seen.received_ns if seen else 0)
                rhythm = Rhythm(trades, interval_ns, deviation_ns, seen.longest_ns if seen else 0)
                facts = Facts(
                    up=up,
                    unheard_ns=max(now_ns - proven_ns, 0) if proven_ns else None,
                    patience_ns=link.patience_ns,
                    standing=connection.subscription.state(wired.row.symbol) if connection else None,
                    rhythm=rhythm,
                    silent_ns=max(now_ns - received_ns, 0) if received_ns else None,
                    listening_ns=listening_ns,
                    lively=lively,
                )
                found.append(
                    Watched(
                        wired=wired,
                        verdict=judge(facts),
                        rhythm=rhythm,
                        received_ns=received_ns,
                        revivals=seen.revivals if seen else 0,
                        held=held,
                        confirmed=confirmed,
                        waiting=waiting,
                    )
                )
        return found

    def judge_link(self, link: Link, watched: list[Watched]) -> Verdict:
        """How a connection fares."""
        now_ns = self._clock.monotonic_ns()
        up, _, proven_ns = self._engine.link_state(link.number)
        opened_ns = link.connection.opened_ns if link.connection else 0
        return judge_connection(
            up=up,
            unheard_ns=max(now_ns - proven_ns, 0) if proven_ns else None,
            patience_ns=link.patience_ns,
            symbols=[(each.rhythm, now_ns - max(each.received_ns, opened_ns)) for each in watched if each.received_ns],
        )

    def cuts(self, exchange: str, connection: int) -> int:
        """How often a connection was replaced lately because it, or a symbol of it, was silent."""
        attempts = self._cuts.get((exchange, connection))
        return attempts.count if attempts else 0

    async def _look_at(self, running: RunningExchange, number: int, link: Link) -> None:
        name = running.wish.feed.name
        self._note_gaps(name, number, link)
        watched = await self.watched(link)
        self._learn(name, number, link, watched)
        verdict = self.judge_link(link, watched)
        silent = [each for each in watched if each.verdict.state is State.SILENT]
        if verdict.state is State.SILENT:
            last_ns = max(each.received_ns for each in watched)
            if self._cut(name, number, link, verdict.why):
                self._gap((name, number, ""), last_ns, self._clock.monotonic_ns(), verdict.why)
        elif silent:
            self._revive(running, number, link, silent)
        elif self._is_well(watched):
            self._cuts.pop((name, number), None)

    def _is_well(self, watched: list[Watched]) -> bool:
        """Whether trades come, and none is missed that an attempt was made for."""
        now_ns = self._clock.monotonic_ns()
        awaited = any(self._seen[each.wired.instrument].attempts.count for each in watched)
        return not awaited and any(now_ns - each.received_ns <= LIVELY_NS for each in watched if each.received_ns)

    def _note_gaps(self, name: str, number: int, link: Link) -> None:
        """Takes down when the connection was away, and what its numbers say is missing."""
        gaps, since_ns, lost = [], 0, False
        while link.outages:
            outage = link.outages.popleft()
            cause = f"connection lost: {outage.cause}"
            gaps.append(self._gap((name, number, ""), outage.from_ns, outage.to_ns, cause))
            since_ns, lost = outage.to_ns, True
        symbols = {each.instrument: each.row.symbol for each in link.wired}
        for instrument, first, last, from_ns, to_ns in link.sink.take_gaps():
            symbol = "" if instrument is None else symbols.get(instrument, "")
            gap = self._gap((name, number, symbol), from_ns, to_ns, "numbers are missing", missing=(first, last))
            if instrument is not None:
                self.book.fill(gap)  # a trade behind the gap has told the price anew
                continue
            gaps.append(gap)
            since_ns = max(since_ns, to_ns)
        if gaps:
            instruments = list(self._instruments(list(link.instruments)))
            self._refill.start((name, number), instruments, gaps, since_ns=since_ns, anew=lost)

    def _learn(self, name: str, number: int, link: Link, watched: list[Watched]) -> None:
        now_ns = self._clock.monotonic_ns()
        epoch = self._engine.link_state(link.number)[1]
        for each in watched:
            seen = self._seen.setdefault(each.wired.instrument, Seen(now_ns))
            before_ns = seen.received_ns
            if seen.look(each.received_ns, epoch, now_ns) and seen.attempts.count:
                self._gap(
                    (name, number, each.wired.row.symbol), before_ns, each.received_ns, "the subscription was dead"
                )
                seen.attempts = Attempts()

    def _revive(self, running: RunningExchange, number: int, link: Link, silent: list[Watched]) -> None:
        """Has symbols subscribed anew that said nothing for too long."""
        feed, connection, now_ns = running.wish.feed, link.connection, self._clock.monotonic_ns()
        if feed.subscribes_by_url or not feed.unsubscribe_template or connection is None:
            if self._cut(feed.name, number, link, f"{silent[0].wired.row.symbol}: {silent[0].verdict.why}"):
                for each in silent:
                    self._seen[each.wired.instrument].revive(now_ns)
            return
        for each in silent[:RESUBSCRIBE_MAX]:
            seen, row = self._seen[each.wired.instrument], each.wired.row
            if not seen.revive(now_ns):
                continue
            log.warning("feeds.resubscribe", exchange=feed.name, symbol=row.symbol, reason=each.verdict.why)
            self._engine.doubt(each.wired.instrument)  # else REST would not be believed
            connection.subscription.remove([row.symbol])
            connection.subscription.add([row])
            instruments = list(self._instruments([each.wired.instrument]))
            self._refill.start(each.wired.instrument, instruments, (), since_ns=now_ns, anew=False)
        connection.wake()

    def _cut(self, name: str, number: int, link: Link, reason: str) -> bool:
        """Replaces a connection, unless that was done too lately; whether it was."""
        attempts = self._cuts.setdefault((name, number), Attempts())
        if link.connection is None or not attempts.take(self._clock.monotonic_ns()):
            return False
        link.connection.close(f"silent: {reason}")
        return True

    def _gap(
        self, place: Place, from_ns: int, to_ns: int, cause: str, *, missing: tuple[int, int] | None = None
    ) -> Gap:
        exchange, connection, symbol = place
        gap = Gap(
            exchange=exchange,
            connection=connection,
            symbol=symbol,
            began_at=self.book.time(min(from_ns, to_ns)),
            ended_at=self.book.time(to_ns),
            first_missing=missing[0] if missing else None,
            last_missing=missing[1] if missing else None,
            cause=cause,
        )
        self.book.add(gap)
        return gap

    def _instruments(self, ids: list[int]) -> Iterator[Instrument]:
        return (found for each in ids if (found := self._catalogue.instrument(each)))
