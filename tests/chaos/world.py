"""The exchanges of one seed, and the network to them, all within one loop."""

import asyncio
import ssl
from collections.abc import Iterator
from functools import cache
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec
from picows import WSListener, WSTransport
from tests.chaos.truth import Truth
from tests.chaos.wire import Wire
from tests.fixtures.rows import seeded_feeds

from beast.base.clock import ManualClock
from beast.feeds.rows.files import Exchange
from beast.feeds.simulator import catalogue
from beast.feeds.simulator.dialects import DIALECTS
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.http import Application
from beast.feeds.simulator.market import Market
from beast.feeds.simulator.types import Product
from beast.feeds.types import Feed, Mapping

TICK_NS: Final = 50 * 10**6
IDLE_TICKS: Final = 5
"""So many pass between two looks at an exchange where nothing happens; heartbeats and pings can wait so long."""
HANDSHAKE_S: Final = 0.08
RATE: Final = 0.3
QUOTES: Final = {"coinbase": "USD", "kraken": "USD", "gemini": "USD", "cryptocom": "USD", "okx": "USDT"}
ASSETS: Final = ("BTC", "ETH", "LINK", "ATOM")
"""From one that trades each second to one that trades every 13."""


class World:
    """Everything outside of Beast.

    Args:
        seed: Of the prices.
        clock: The time.
    """

    def __init__(self, seed: int, clock: ManualClock) -> None:
        self.clock = clock
        self.truth = Truth()
        self.exchanges: dict[str, SimulatedExchange] = {
            name: SimulatedExchange(name, DIALECTS[name], clock) for name in QUOTES
        }
        self.wires: dict[str, list[Wire]] = {name: [] for name in QUOTES}
        self.wire_count = 0
        self.spiked_ns: dict[str, int] = dict.fromkeys(QUOTES, -(10**18))
        self.skewed_ns: dict[str, int] = dict.fromkeys(QUOTES, -(10**18))
        """When the fault was last in force."""
        self.spikes: dict[str, list[int]] = {name: [] for name in QUOTES}
        """Every moment at which one was in force and the market moved."""
        self._ticks = 0
        self._timer: asyncio.TimerHandle
        self._failure: asyncio.Future[None]
        listed = _listed()
        self.products = [
            Product(name, listed.exchanges[name].name(asset, quote), asset, quote)
            for name, quote in QUOTES.items()
            for asset in ASSETS
        ]
        self._assets = {(each.exchange, each.symbol): each.asset for each in self.products}
        styles = {name: dialect.style for name, dialect in DIALECTS.items()}
        self._market = Market(listed, self.products, styles, seed=seed, rate=RATE, now_ns=clock.wall_ns())
        for (name, symbol), instrument in self._market.instruments.items():
            self.exchanges[name].instruments = {**self.exchanges[name].instruments, symbol: instrument}
            for trade in instrument.history:
                self.truth.made(name, instrument.product.asset, trade, trade, clock.monotonic_ns())
        self.transport = httpx.ASGITransport(app=Application(self))  # type: ignore[arg-type]

    def rows(self) -> list[Exchange]:
        """What Beast knows of it."""
        return [
            Exchange(
                _feed(name),
                tuple(
                    Mapping(asset=each.asset, symbol=each.symbol, currency=each.quote)
                    for each in self.products
                    if each.exchange == name
                ),
            )
            for name in QUOTES
        ]

    def url(self, exchange: str, original: str) -> str:
        parts = urlsplit(original)
        query = f"?{parts.query}" if parts.query else ""
        return f"{'ws' if parts.scheme.startswith('ws') else 'http'}://world/{exchange}{parts.path or '/'}{query}"

    async def open(self, listener: WSListener, url: str, *, tls: ssl.SSLContext, name: str) -> WSTransport:
        """See beast.feeds.link.door.Opener."""
        del tls
        exchange = self.exchanges[name]
        await asyncio.sleep(HANDSHAKE_S)
        if exchange.faults.get("refuse") or exchange.faults.get("too_many"):
            raise ConnectionRefusedError("HTTP 503")
        while exchange.faults.get("half_open"):  # noqa: ASYNC110 - a fault tells nobody of its end
            await asyncio.sleep(1)
        self.wire_count += 1
        wire = Wire(self.wire_count, exchange, url.partition(f"/{name}")[2] or "/", listener, self._heard)
        self.wires[name].append(wire)
        return wire  # type: ignore[return-value]

    def wire(self, exchange: str) -> Wire | None:
        """The connection that is up."""
        return next((each for each in reversed(self.wires[exchange]) if each.up), None)

    def lost(self, exchange: str) -> Iterator[Wire]:
        """Those that are not."""
        return (each for each in self.wires[exchange] if not each.up)

    async def run(self) -> None:
        """Trades, until cancelled."""
        self._failure = asyncio.get_running_loop().create_future()
        self._plan_tick()
        try:
            await self._failure
        finally:
            self._timer.cancel()

    def _plan_tick(self) -> None:
        """The next moment at which anything can happen; a task that sleeps would take most of a seed's time."""
        pause = 1
        if not any(exchange.busy for exchange in self.exchanges.values()):
            trades = -(-(self._market.next_ns - self.clock.wall_ns()) // TICK_NS)
            pause = max(1, min(trades, IDLE_TICKS - self._ticks % IDLE_TICKS))
        self._ticks += pause
        self._timer = asyncio.get_running_loop().call_later(pause * TICK_NS / 1e9, self._tick)

    def _tick(self) -> None:
        try:
            self.tick()
            self._plan_tick()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for the one who plays
            self._failure.set_exception(error)

    def tick(self) -> None:
        now_ns = self.clock.monotonic_ns()
        traded = self._market.advance(self.clock.wall_ns())
        for name, exchange in self.exchanges.items():
            trades = traded.get(name, [])
            if not (trades or exchange.busy or self._ticks % IDLE_TICKS == 0):
                continue
            for kind, when in (("spike", self.spiked_ns), ("skew", self.skewed_ns)):
                if exchange.faults.get(kind):
                    when[name] = now_ns
            if self.spiked_ns[name] == now_ns:
                self.spikes[name].append(now_ns)
            for trade in trades:
                told = exchange.faults.on_trade(trade, exchange.instruments[trade.symbol])
                self.truth.made(name, self._assets[name, trade.symbol], trade, told, now_ns)
            exchange.tick(trades)

    def fault(self, exchange: str, kind: str, seconds: float | None = None, **args: float | str) -> None:
        self.exchanges[exchange].fault(kind, seconds, args)

    def clear(self, exchange: str = "*", kind: str | None = None) -> None:
        for name, each in self.exchanges.items():
            if exchange in {"*", name}:
                each.faults.clear(kind)

    def state(self) -> dict[str, object]:
        return {name: each.state() for name, each in self.exchanges.items()}

    def _heard(self, wire: Wire, frame: bytes | None) -> None:
        wire.heard_ns = self.clock.monotonic_ns()
        if frame is not None:
            self.truth.heard(wire.exchange.name, wire.number, frame, wire.heard_ns, self.clock.wall_ns())


# Read from files once for all seeds; nothing of it ever changes.


@cache
def _listed() -> catalogue.Catalogue:
    return catalogue.load()


@cache
def _feed(name: str) -> Feed:
    return msgspec.structs.replace(seeded_feeds()[name], enabled=True)
