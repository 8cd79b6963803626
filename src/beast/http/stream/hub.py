"""Looks at the watched prices, numbers what has changed, and brings every client up to date.

Everything happens on the event loop, in rounds: look at the price table, then tell those who are behind. A client
that can't be told now is told the newest later; what it never got is counted, and told as `missed`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress

import structlog

from beast._fast import RESULTS, Engine, Watch
from beast.base.clock import Clock
from beast.http.errors import STOPPING, Fault
from beast.http.stream.channel import Channel, Form, Selection, Step
from beast.http.stream.session import Session

LOOK_AT_ONCE = 8192
"""Places; a millisecond or so."""
TURN_NS = 2_000_000
"""After so long other callbacks of the loop have their turn."""
TURN_CHECK = 8
"""Clients told between two looks at the clock."""
CHORES_NS = 250_000_000
"""Between two looks at keys and slow clients: a revoked key's streams end well within a second."""
BEAT_NS = 15_000_000_000
LINGER_NS = 60_000_000_000
"""How long a channel that nobody follows goes on counting, so that a client that comes back learns what it missed."""

REVOKED = next(Fault(status, code, message) for name, code, status, message in RESULTS if name == "UNAUTHORIZED")

log = structlog.get_logger(__name__)


class Hub:
    """All streams of one server. Everything is for the event loop's thread.

    Args:
        engine: Whose prices and keys.
        clock: The time.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._watch = Watch(engine)
        self._channels: dict[tuple[str, str | None], Channel] = {}
        self._by_number: dict[int, Channel] = {}
        self._selections: dict[tuple[Form, tuple[Channel, ...]], Selection] = {}
        self._changed: dict[Channel, None] = {}
        """Since the last round."""
        self._stepped: dict[Selection, None] = {}
        self._behind: dict[Session, None] = {}
        self._paused_ns: dict[Session, int] = {}
        """Clients that don't read, and since when; the longest first."""
        self._by_key: dict[bytes, dict[Session, None]] = {}
        self._count = 0
        now_ns = clock.monotonic_ns()
        self._turn_ns = now_ns + TURN_NS
        self._chores_ns = now_ns + CHORES_NS
        self._beat_ns = now_ns + BEAT_NS
        self.tune(interval_ms=50, idle_ms=30_000, max_clients=10_000)

    def tune(self, *, interval_ms: int, idle_ms: int, max_clients: int) -> None:
        """Sets the time between two rounds, how long a client may read nothing, and how many there may be."""
        self._interval_ns = interval_ms * 1_000_000
        self._idle_ns = idle_ms * 1_000_000
        self._max_clients = max_clients

    # Clients

    @property
    def clients(self) -> int:
        """Open streams."""
        return self._count

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return self._count >= self._max_clients

    def knows(self, digest: bytes, peer: str | None = None) -> bool:
        """Whether the key with this SHA-256 opens prices; from there, if it is said from where."""
        return self._watch.knows(digest, peer)

    def enter(self, session: Session) -> None:
        """One more client, which follows nothing yet."""
        self._count += 1
        self._by_key.setdefault(session.digest, {})[session] = None
        self._engine.count("streams_opened")

    def drop(self, session: Session) -> None:
        """A client that is gone."""
        self._unfollow(session)
        self._paused_ns.pop(session, None)
        self._behind.pop(session, None)
        self._count -= 1
        same_key = self._by_key[session.digest]
        del same_key[session]
        if not same_key:
            del self._by_key[session.digest]
        self._engine.count("streams_closed")

    def follow(self, session: Session, places: Iterable[tuple[str, str | None]]) -> None:
        """From now on `session` follows these (asset, exchange), and no others; it is told what they are now."""
        self._unfollow(session)
        channels = tuple(self._channel(asset, exchange) for asset, exchange in dict.fromkeys(places))
        if not channels:
            return
        selection = self._selections.get((session.form, channels))
        if selection is None:
            selection = self._selections[session.form, channels] = Selection(channels, session.form)
            for channel in channels:
                channel.selections.add(selection)
        selection.sessions[session] = None
        session.selection = selection
        for channel in channels:
            self._freshen(channel)
        self._tell(session, selection.opening(session.resumed(selection)))

    def _unfollow(self, session: Session) -> None:
        selection, session.selection = session.selection, None
        if selection is None:
            return
        del selection.sessions[session]
        if not selection.sessions:
            del self._selections[selection.form, selection.channels]
            for channel in selection.channels:
                channel.selections.discard(selection)
                channel.left_ns = self._clock.monotonic_ns()

    def paused(self, session: Session) -> None:
        """Its client does not read; it has so much time."""
        self._paused_ns[session] = self._clock.monotonic_ns()

    def resumed(self, session: Session) -> None:
        """Its client reads again."""
        self._paused_ns.pop(session, None)
        self._behind[session] = None

    def dismiss(self, session: Session) -> None:
        """The server stops: says so in one of the next turns, for there may be thousands."""
        session.farewell = STOPPING
        self._behind[session] = None

    # Prices

    def _channel(self, asset: str, exchange: str | None) -> Channel:
        channel = self._channels.get((asset, exchange))
        if channel is None:
            number = self._watch.add(asset, exchange)
            channel = self._channels[asset, exchange] = self._by_number[number] = Channel(asset, exchange, number)
        return channel

    def _freshen(self, channel: Channel) -> None:
        """What is told tells its age as it is now, not as it was when the price changed."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - channel.read_ns > self._interval_ns or not channel.body:
            changed, body = self._watch.read(channel.number, now_ns)
            if changed:
                self._publish(channel, body, now_ns)
            channel.body, channel.read_ns = body, now_ns

    def _publish(self, channel: Channel, body: bytes, now_ns: int) -> None:
        channel.seq += 1
        channel.body, channel.read_ns = body, now_ns
        self._changed[channel] = None

    # Rounds

    async def run(self) -> None:
        """Round after round, until cancelled."""
        while True:
            begun_ns = self._clock.monotonic_ns()
            try:
                for _ in self.turns():
                    await asyncio.sleep(0)
            except Exception:  # one round's mistake must not end all streams
                log.exception("stream.round_failed")
            rest_ns = begun_ns + self._interval_ns - self._clock.monotonic_ns()
            await asyncio.sleep(max(rest_ns, TURN_NS) / 1e9)

    def turns(self) -> Iterator[None]:
        """One round; yields whenever the loop should see to others first."""
        self._turn_ns = self._clock.monotonic_ns() + TURN_NS
        yield from self._look()
        yield from self._catch_up()
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._chores_ns:
            self._chores_ns = now_ns + CHORES_NS
            yield from self._end_revoked()
            self._end_idle(now_ns)
            self._end_channels(now_ns)
        if now_ns >= self._beat_ns:
            self._beat_ns = now_ns + BEAT_NS
            yield from self._beat()

    def _breathe(self) -> Iterator[None]:
        if self._clock.monotonic_ns() >= self._turn_ns:
            yield
            self._turn_ns = self._clock.monotonic_ns() + TURN_NS

    def _look(self) -> Iterator[None]:
        for first in range(0, len(self._watch), LOOK_AT_ONCE):
            now_ns = self._clock.monotonic_ns()
            for number, body in self._watch.look(first, LOOK_AT_ONCE, now_ns):
                self._publish(self._by_number[number], body, now_ns)
            yield from self._breathe()

    def _catch_up(self) -> Iterator[None]:
        behind, self._behind = self._behind, {}
        yield from self._add_followers(behind)
        events = missed = 0
        for number, session in enumerate(behind):
            if number % TURN_CHECK == 0:
                yield from self._breathe()
            step = self._bring(session)
            if step is not None:
                events += step.events
                missed += step.missed
        for selection in self._stepped:
            selection.forget_steps()
        self._stepped.clear()
        self._engine.count("stream_events", events)
        self._engine.count("stream_missed", missed)

    def _add_followers(self, behind: dict[Session, None]) -> Iterator[None]:
        """Adds the clients of every channel that has changed."""
        changed, self._changed = self._changed, {}
        selections: dict[Selection, None] = {}
        for channel in changed:
            selections.update(dict.fromkeys(channel.selections))
            yield from self._breathe()
        for number, selection in enumerate(selections):
            if number % TURN_CHECK == 0:
                yield from self._breathe()
            behind.update(selection.sessions)

    def _bring(self, session: Session) -> Step | None:
        """Tells one client what is new to it, or why it has to go."""
        if session.farewell is not None:
            session.close(session.farewell)
        selection = session.selection
        if session.closing or session.paused or selection is None:
            return None
        self._stepped[selection] = None
        step = selection.step(session.seen, self._freshen)
        if not step.events:
            return None
        session.seen = step.seen
        session.transport.write(step.payload)
        return step

    def _tell(self, session: Session, step: Step) -> None:
        session.seen = step.seen
        session.transport.write(step.payload)
        self._engine.count("stream_events", step.events)
        self._engine.count("stream_missed", step.missed)

    # Now and then

    def _end_revoked(self) -> Iterator[None]:
        for number, session in enumerate([each for same in self._by_key.values() for each in same]):
            if number % TURN_CHECK == 0:
                yield from self._breathe()
            if not session.closing and not self._watch.knows(session.digest, session.peer):
                session.close(REVOKED)

    def _end_idle(self, now_ns: int) -> None:
        for session, since_ns in list(self._paused_ns.items()):
            if now_ns - since_ns < self._idle_ns:
                break
            self._engine.count("streams_too_slow")
            session.transport.abort()

    def _end_channels(self, now_ns: int) -> None:
        for pair, channel in list(self._channels.items()):
            if not channel.selections and now_ns - channel.left_ns > LINGER_NS:
                self._watch.remove(channel.number)
                del self._channels[pair], self._by_number[channel.number]

    def _beat(self) -> Iterator[None]:
        for number, session in enumerate([each for same in self._by_key.values() for each in same]):
            if number % TURN_CHECK == 0:
                yield from self._breathe()
            if not session.paused and not session.closing:
                session.transport.write(session.beat)


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    """Keeps the hub going."""
    task = asyncio.create_task(hub.run(), name="streams")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
