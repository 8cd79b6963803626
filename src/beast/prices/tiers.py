"""What happens when memory has no price to answer: tier 2 is asked, then tier 3, once for all who wait.

Nothing here runs in the workers. They park a request, or hand its connection over; the price is published into the
price table, and the request is asked again there.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog

from beast._fast import Engine, Miss
from beast.base.clock import Clock
from beast.base.tasks import Tasks
from beast.prices.catalogue import Catalogue
from beast.prices.held import Held, held_of, is_proven
from beast.prices.shared import FOR_EVER, Found, Lookup
from beast.prices.types import Instrument, Market, Quote

REPEAT_NS: Final = 250 * 10**6
"""The slower tiers are asked for one asset at most so often, whatever they said."""
SETTLE_S: Final = 0.02
"""Who waited for a price is told the tier it came from; whoever asks after this finds it in memory."""
NO_LIMIT: Final = FOR_EVER

log = structlog.get_logger(__name__)


class RestPrices(Protocol):
    """Tier 3, as `prices` knows it."""

    async def fetch(self, markets: Sequence[Market], until_ns: int) -> Quote | None:
        """The price of the first of these markets whose exchange tells it before `until_ns` (monotonic)."""


class _Asked(msgspec.Struct):
    """What matters here of a datagram that the engine has found good."""

    asset: str | None = None
    assets: list[str] | None = None
    exchange: str | None = None
    max_age_ms: int | None = None


class _Told(msgspec.Struct, frozen=True):
    """What a slower tier has said."""

    quote: Quote
    fresh_ns: int
    """Since when the TTL counts, CLOCK_MONOTONIC."""
    until_ns: int
    """When nothing proves it any more."""
    by_rest: bool


class _Flight:
    """One look into the slower tiers, for all who wait for the same."""

    def __init__(self) -> None:
        self.max_age_ns = NO_LIMIT
        """What the strictest of them takes."""
        self.task: asyncio.Task[None]


class Tiers:
    """The way down from memory, and back up.

    Args:
        engine: Memory.
        catalogue: What can be asked for.
        shared: Tier 2; None: there is none.
        rest: Tier 3.
        clock: The time.
    """

    def __init__(
        self, engine: Engine, catalogue: Catalogue, *, shared: Lookup | None, rest: RestPrices, clock: Clock
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._shared = shared
        self._rest = rest
        self._clock = clock
        self._flights: dict[tuple[str, str | None], _Flight] = {}
        self._asked_ns: dict[tuple[str, str | None], int] = {}
        self._proven: dict[int, _Told] = {}
        """By instrument, what another node has vouched for."""
        self._tasks = Tasks()
        self._waiting = Tasks()
        self._stopped = False
        self.tune(ttl_ms=13_000, backfill_ms=5_000, wait_ms=2_000)

    def tune(self, *, ttl_ms: int, backfill_ms: int, wait_ms: int) -> None:
        """Takes new parameters, from now on."""
        self._ttl_ns = ttl_ms * 10**6
        self._backfill_ns = backfill_ms * 10**6
        self._wait_ns = wait_ms * 10**6
        for told in list(self._proven.values()):  # a longer TTL must not outlast the proof
            self._settle(told, None)

    async def stop(self) -> None:
        """Whoever waits is answered with what memory has; from now on nobody waits."""
        self._stopped = True
        await self._tasks.cancel()
        while len(self._waiting):  # noqa: ASYNC110 - a turn of the loop or two
            await asyncio.sleep(0)

    def on_miss(self, miss: Miss) -> None:
        """Has a parked datagram answered: after the slower tiers, or at once when they have nothing to say."""
        try:
            asked = msgspec.json.decode(miss.datagram, type=_Asked)
        except (msgspec.DecodeError, UnicodeDecodeError):
            asked = _Asked()  # JSON that only the engine reads, in members that nobody knows
        assets = asked.assets or ([asked.asset] if asked.asset else [])
        tasks = self._ask(assets, asked.exchange, asked.max_age_ms)
        if tasks:
            self._waiting.spawn("miss", self._resume(miss, tasks))
        else:
            self._engine.resume(miss)

    async def find(self, assets: Sequence[str], exchange: str | None, max_age_ms: int | None) -> None:
        """Returns when the slower tiers have said what they can about these assets, or it takes too long."""
        if tasks := self._ask(assets, exchange, max_age_ms):
            await asyncio.wait(tasks, timeout=self._wait_ns / 1e9)

    async def refresh(self, instrument: Instrument) -> bool:
        """Asks the exchange itself, whatever memory holds; whether it told a price."""
        quote = await self._rest.fetch([instrument.market], self._clock.monotonic_ns() + self._wait_ns)
        if quote is not None:
            self._take_quote(quote)
        return quote is not None

    async def _resume(self, miss: Miss, tasks: set[asyncio.Task[None]]) -> None:
        left_ns = miss.deadline_ns - self._clock.monotonic_ns()
        await asyncio.wait(tasks, timeout=max(left_ns, 0) / 1e9)
        if self._engine.running:
            self._engine.resume(miss)

    def _ask(self, assets: Sequence[str], exchange: str | None, max_age_ms: int | None) -> set[asyncio.Task[None]]:
        """The flights to wait for."""
        if self._stopped:
            return set()
        max_age_ns = NO_LIMIT if max_age_ms is None else max_age_ms * 10**6
        exchange = exchange.lower() if exchange else None
        flights = [self._flight(asset.upper(), exchange, max_age_ns) for asset in assets]
        return {flight.task for flight in flights if flight is not None}

    def _flight(self, asset: str, exchange: str | None, max_age_ns: int) -> _Flight | None:
        """The flight under way, or a new one; None when there is nothing to be learnt."""
        want = asset, exchange
        flight = self._flights.get(want)
        if flight is None:
            now_ns = self._clock.monotonic_ns()
            if now_ns - self._asked_ns.get(want, -REPEAT_NS) < REPEAT_NS:
                return None
            instruments = self._instruments(asset, exchange)
            if not self._is_missing(instruments, max_age_ns):
                return None
            flight = self._flights[want] = _Flight()
            self._asked_ns[want] = now_ns
            flight.task = self._tasks.spawn(f"tiers {asset}", self._fly(want, flight, instruments))
            flight.task.add_done_callback(lambda _: self._flights.pop(want, None))
        flight.max_age_ns = min(flight.max_age_ns, max_age_ns)
        return flight

    def _instruments(self, asset: str, exchange: str | None) -> list[Instrument]:
        return [each for each in self._catalogue.of_asset(asset) if exchange in {None, each.market.exchange}]

    def _is_missing(self, instruments: Sequence[Instrument], max_age_ns: int) -> bool:
        """Whether memory can't answer and somebody else may."""
        now_ns = self._clock.monotonic_ns()
        places = [(each, held_of(self._engine, each, now_ns)) for each in instruments]
        answers = any(held and held.state != "stale" and now_ns - held.received_ns <= max_age_ns for _, held in places)
        return not answers and any(not is_proven(self._engine, each, held) for each, held in places)

    async def _fly(self, want: tuple[str, str | None], flight: _Flight, instruments: Sequence[Instrument]) -> None:
        try:
            if self._shared is not None:
                found = await self._shared.find(*want)
                if found is not None and self._take_found(found, flight.max_age_ns):
                    self._engine.count("elasticache_hits")
                    return
            until_ns = self._clock.monotonic_ns() + self._wait_ns
            markets = [each.market for each in instruments if not self._is_proven(each)]
            quote = await self._rest.fetch(markets, until_ns)
            if quote is not None and self._take_quote(quote):
                self._engine.count("rest_fallbacks")
        except Exception:
            # Whoever waits is told what memory has; the next one tries again.
            log.exception("tiers.failed", asset=want[0], exchange=want[1])

    def _take_found(self, found: Found, max_age_ns: int) -> bool:
        """Publishes a price of tier 2, if it is live, young enough, and newer than the one held."""
        price = found.price
        received_ns = self._clock.monotonic_ns() - found.age_ns
        lag_ns = 0 if price.by_rest else max(price.received_ns - price.time_ns, 0)
        fresh_ns = received_ns - (lag_ns if lag_ns > self._backfill_ns else 0)
        end_ns = min(found.until_ns, fresh_ns + self._ttl_ns)
        if found.age_ns > max_age_ns or end_ns <= self._clock.monotonic_ns() or received_ns <= 0:
            return False
        instrument, held = self._current(price.exchange, found.asset)
        if instrument is None or instrument.market.currency != price.currency:
            return False
        if held is not None and is_proven(self._engine, instrument, held):
            return False
        if held is not None and (held.time_ns, held.price, held.by_rest) == (price.time_ns, price.price, price.by_rest):
            received_ns = min(received_ns, held.received_ns)  # the very same, vouched for anew
        elif held is not None and held.received_ns >= received_ns:
            return False
        quote = Quote(
            exchange=price.exchange,
            asset=found.asset,
            price=price.price.encode(),
            time_ns=price.time_ns,
            received_ns=received_ns,
        )
        self._publish(instrument, _Told(quote, fresh_ns, found.until_ns, price.by_rest), tier=2)
        return True

    def _take_quote(self, quote: Quote) -> bool:
        """Publishes a price of tier 3, unless a trade was faster.

        It is fresh since it came: the exchange has just said that it is its last.
        """
        instrument, held = self._current(quote.exchange, quote.asset)
        if instrument is None or is_proven(self._engine, instrument, held):
            return False
        if held is not None and held.time_ns > quote.time_ns:
            return False
        self._publish(instrument, _Told(quote, quote.received_ns, FOR_EVER, by_rest=True), tier=3)
        return True

    def _publish(self, instrument: Instrument, told: _Told, *, tier: int) -> None:
        self._hold(instrument, told, tier)
        self._proven.pop(instrument.id, None)
        if told.until_ns < FOR_EVER:
            self._proven[instrument.id] = told
        asyncio.get_running_loop().call_later(SETTLE_S, self._settle, told, tier)

    def _settle(self, told: _Told, tier: int | None) -> None:
        """From now on it is memory that answers with this price, if it is still there: from that tier, or from any."""
        instrument, held = self._current(told.quote.exchange, told.quote.asset)
        if instrument is None or held is None or held.epoch or held.received_ns != told.quote.received_ns:
            return
        if tier in {None, held.tier}:
            self._hold(instrument, told, 1)

    def _hold(self, instrument: Instrument, told: _Told, tier: int) -> None:
        """It is live until its TTL is over, or the proof, whichever is first."""
        quote = told.quote
        self._engine.publish(
            instrument.id,
            quote.price,
            quote.time_ns,
            quote.received_ns,
            fresh_ns=min(told.fresh_ns, told.until_ns - self._ttl_ns),
            tier=tier,
            by_rest=told.by_rest,
        )

    def _current(self, exchange: str, asset: str) -> tuple[Instrument | None, Held | None]:
        """The market as it is now: rows may have changed since it was asked for."""
        instrument = self._catalogue.find(exchange, asset)
        now_ns = self._clock.monotonic_ns()
        return instrument, held_of(self._engine, instrument, now_ns) if instrument else None

    def _is_proven(self, instrument: Instrument) -> bool:
        return is_proven(self._engine, instrument, held_of(self._engine, instrument, self._clock.monotonic_ns()))
