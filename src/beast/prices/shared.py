"""Tier 2: the prices that any node of the cluster has received, in Valkey.

Written behind: a task looks which prices have come in since it looked last and writes the newest of each, never on a
request's way; and, more often, the proofs of the connections that brought them (vouching.py). Read with a few
milliseconds of patience. While Valkey is away it is skipped, which is counted and told; the task connects again.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Protocol

import msgspec
import structlog
from msgspec import Meta

from beast._fast import Engine, received_after
from beast.base.clock import Clock
from beast.prices.catalogue import Catalogue
from beast.prices.held import held_of
from beast.prices.types import Instrument
from beast.prices.vouching import KEY, RENEW_NS, Vouching, proven_for_ns
from beast.storage.valkey import Stored, Valkey, ValkeyUnavailableError

AT_ONCE: Final = 64
"""Prices that one pipeline writes: putting it together holds the loop."""
LATE_MAX: Final = 3
"""So many look-ups in a row without an answer in time, and Valkey counts as away."""
RECONNECT_S: Final = 1.0
FOR_EVER: Final = 2**62
OVERLAP_NS: Final = 100 * 10**6
"""A price is published a moment after it was received: what came so shortly before a look is looked at again."""
HEARD_NS: Final = 10**9
"""So often it is asked whether it is there, with prices to write or without."""

log = structlog.get_logger(__name__)


class SharedPrice(msgspec.Struct, frozen=True):
    """A price as Valkey keeps it, in JSON: the protocol between nodes of all versions."""

    exchange: str
    currency: str
    price: Annotated[str, Meta(pattern=r"^(?:0|[1-9][0-9]*)(?:\.[0-9]+)?\Z", max_length=40)]
    source: str
    time_ns: Annotated[int, Meta(ge=0)]
    """The exchange's time of the trade, ns since 1970."""
    received_ns: int
    """When a node received it, ns since 1970 by that node's clock."""
    age_ms: int
    """How long ago that was when the node wrote it."""
    ttl_ms: int
    """How long Valkey was told to keep it."""
    proof: Annotated[str, Meta(pattern=KEY)] | None = None
    """Where it stands whether the connection that brought it is alive. None: none did, or the node is of a version that
    doesn't say, and then nobody can call it live."""
    connection: int = 0
    """Which one, in the proof's own count."""

    @property
    def by_rest(self) -> bool:
        """Whether the exchange's REST interface told it."""
        return self.source.endswith("-rest")


class Found(msgspec.Struct, frozen=True):
    """A price out of tier 2."""

    asset: str
    price: SharedPrice
    age_ns: int
    """At least as old as it can be said to be."""
    until_ns: int
    """When nothing proves it any more, CLOCK_MONOTONIC; what REST told needs no proof."""


class Lookup(Protocol):
    """Tier 2 as the tiers see it."""

    async def find(self, asset: str, exchange: str | None) -> Found | None:
        """The asset's price, of one exchange or of the best."""


class SharedPrices:
    """Reads and writes tier 2.

    Args:
        engine: Whose prices are written.
        catalogue: What they are prices of.
        valkey: The pool of connections.
        clock: The time.
        report: Told what is wrong with Valkey, or None when it is well again.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        valkey: Valkey,
        *,
        clock: Clock,
        report: Callable[[str | None], None],
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._valkey = valkey
        self._clock = clock
        self._vouching = Vouching(engine, clock)
        self._report = report
        self._reachable = False
        self._late = 0
        self._since_ns = self._heard_ns = self._flushed_ns = 0
        self._wanted: dict[str, asyncio.Future[Stored | None]] = {}
        self._reads: set[asyncio.Task[None]] = set()
        self.tune(ttl_ms=13_000, timeout_ms=5, flush_ms=250, pool_size=12)

    def tune(self, *, ttl_ms: int, timeout_ms: int, flush_ms: int, pool_size: int) -> None:
        """Takes new parameters, from now on."""
        self._ttl_ms = ttl_ms
        self._timeout_s = timeout_ms / 1e3
        self._flush_s = flush_ms / 1e3
        self._reads_max = pool_size - 1  # one connection is the writer's
        self._valkey.resize(pool_size)

    async def find(self, asset: str, exchange: str | None) -> Found | None:
        """The asset's price, of one exchange or of the best; None when there is none, or no answer in time."""
        if not self._reachable:
            self._engine.count("tier2_skipped")
            return None
        stored = await self._read(key_of(asset, exchange))
        told = found(asset, stored, self._clock.wall_ns()) if stored else None
        if told is None or told.price.by_rest:
            return told
        return await self._proven(told) if told.price.proof else None

    async def _proven(self, told: Found) -> Found | None:
        """The same, with the time for which the node that received it vouches for it; None: it doesn't."""
        asked_ns, asked_wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        proof = await self._read(str(told.price.proof))
        until_ns = asked_ns + proven_for_ns(told.price.connection, proof, asked_wall_ns)
        if until_ns <= self._clock.monotonic_ns():
            return None
        age_ns = told.age_ns + self._clock.monotonic_ns() - asked_ns
        return msgspec.structs.replace(told, age_ns=age_ns, until_ns=until_ns)

    async def run(self) -> None:
        """Keeps connected and writes behind, until cancelled."""
        try:
            while True:
                try:
                    await self._keep_up()
                except ValkeyUnavailableError as error:
                    self._lost(str(error))
                await asyncio.sleep(min(self._flush_s, RENEW_NS / 1e9) if self._reachable else RECONNECT_S)
        finally:
            await self._valkey.close()

    async def _keep_up(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if not self._reachable or now_ns - self._heard_ns > HEARD_NS:
            await self._valkey.open()
            self._heard_ns = now_ns
        if not self._reachable:
            # What it missed meanwhile, and all it held if it lost its memory.
            self._since_ns = self._clock.monotonic_ns() - self._ttl_ms * 10**6
            self._flushed_ns = 0
            self._late, self._reachable = 0, True
            self._report(None)
        if now_ns - self._flushed_ns >= self._flush_s * 0.9e9:  # rather a little early than a turn late
            self._flushed_ns = now_ns
            since_ns, self._since_ns = self._since_ns, self._clock.monotonic_ns() - OVERLAP_NS
            numbers = received_after(self._engine, since_ns)
            for start in range(0, len(numbers), AT_ONCE):
                await self._valkey.write(self._entries(numbers[start : start + AT_ONCE]))
                await self._vouch()
        await self._vouch()

    async def _vouch(self) -> None:
        """As soon as prices are there whose connections are new, and four times a second."""
        if entries := list(self._vouching.entries()):
            await self._valkey.write(entries)

    def _lost(self, reason: str) -> None:
        self._reachable = False
        self._report(f"tier 2 is skipped: {reason}")

    # Writing

    def _entries(self, numbers: Sequence[int]) -> list[tuple[str, bytes, int]]:
        """(key, value, milliseconds to keep it): of each market, and of its asset where it is the best."""
        entries = []
        for number in numbers:
            instrument = self._catalogue.instrument(number)
            shared = self._shared(instrument) if instrument else None
            if instrument is None or shared is None:
                continue
            value, market = msgspec.json.encode(shared), instrument.market
            entries.append((key_of(market.asset, market.exchange), value, shared.ttl_ms))
            if self._is_best(instrument):
                entries.append((key_of(market.asset, None), value, shared.ttl_ms))
        return entries

    def _shared(self, instrument: Instrument) -> SharedPrice | None:
        """What is to be written of an exchange's market; None unless it is live and this node received it itself."""
        if instrument not in self._catalogue.of_asset(instrument.market.asset):
            return None
        held = held_of(self._engine, instrument, self._clock.monotonic_ns())
        if held is None or held.state != "live" or not (held.epoch or held.by_rest):
            return None
        age_ns = max(self._clock.monotonic_ns() - held.received_ns, 0)
        connection = 0 if held.by_rest else self._vouching.vouch(instrument.link, held.epoch)
        if not (connection or held.by_rest):
            return None
        return SharedPrice(
            exchange=instrument.market.exchange,
            currency=instrument.market.currency,
            price=held.price,
            source=f"{instrument.market.exchange}-{'rest' if held.by_rest else 'ws'}",
            time_ns=held.time_ns,
            received_ns=self._clock.wall_ns() - age_ns,
            age_ms=-(-age_ns // 10**6),
            ttl_ms=self._ttl_ms,
            proof=self._vouching.key(instrument.link) if connection else None,
            connection=connection,
        )

    def _is_best(self, instrument: Instrument) -> bool:
        """Whether no market that is asked before this one has a live price."""
        for other in self._catalogue.of_asset(instrument.market.asset):
            if other.id == instrument.id:
                return True
            held = held_of(self._engine, other, self._clock.monotonic_ns())
            if held is not None and held.state == "live":
                return False
        return False

    # Reading

    async def _read(self, key: str) -> Stored | None:
        """One value; what is asked for in the same turn of the loop goes in one pipeline."""
        loop = asyncio.get_running_loop()
        if key not in self._wanted:
            if not self._wanted:
                loop.call_soon(self._send)
            self._wanted[key] = loop.create_future()
        answer = self._wanted[key]
        done, _ = await asyncio.wait({answer}, timeout=self._timeout_s)
        if not done:
            self._engine.count("tier2_skipped")
            self._late += 1
            if self._late >= LATE_MAX and self._reachable:
                self._lost("no answer in time")
            return None
        return answer.result()

    def _send(self) -> None:
        wanted, self._wanted = self._wanted, {}
        if len(self._reads) >= self._reads_max:
            return  # who waits will give up in time
        task = asyncio.get_running_loop().create_task(self._fetch(wanted), name="tier 2")
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)

    async def _fetch(self, wanted: dict[str, asyncio.Future[Stored | None]]) -> None:
        """Runs to its end even when nobody waits any more, so that its connection stays whole."""
        answers: Sequence[Stored | None] = [None] * len(wanted)
        try:
            answers = await self._valkey.read(list(wanted))
            self._late = 0
        except ValkeyUnavailableError as error:
            self._engine.count("tier2_skipped", len(wanted))
            self._lost(str(error))
        for future, answer in zip(wanted.values(), answers, strict=True):
            if not future.done():
                future.set_result(answer)


def key_of(asset: str, exchange: str | None) -> str:
    """Where the price of an asset stands, of one exchange or of the best."""
    return f"price:{exchange}:{asset}" if exchange else f"price:{asset}"


def found(asset: str, stored: Stored, wall_ns: int) -> Found | None:
    """What a value says at this moment; None when it says nothing.

    Its age is told twice: by the clocks of two nodes, which may differ; and by Valkey's own, from how much of its time
    has gone, which leaves out the way there. Both are believed as far as they make the price older.
    """
    try:
        price = msgspec.json.decode(stored.value, type=SharedPrice)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    by_valkey_ms = price.age_ms + max(price.ttl_ms - stored.left_ms, 0)
    age_ns = max(by_valkey_ms * 10**6, wall_ns - price.received_ns)
    return Found(asset, price, age_ns, FOR_EVER if price.by_rest else 0)
