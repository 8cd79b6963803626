"""The simulator: a WebSocket and a REST server on loopback that speak as the exchanges do, with seeded prices."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from picows import ws_create_server

from beast.base.clock import Clock, SystemClock
from beast.base.errors import UsageError
from beast.base.tasks import Tasks
from beast.feeds.simulator import catalogue, faults
from beast.feeds.simulator.dialects import DIALECTS
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.http import Application, HttpServer
from beast.feeds.simulator.market import SECOND_NS, Market
from beast.feeds.simulator.websocket import router

TICK_S: Final = 0.05
"""Everything is done in one tick of this length, so that hundreds of markets cost one timer."""


class Simulator:
    """All simulated exchanges behind two ports.

    `ws://HOST:PORT/EXCHANGE/ORIGINAL-PATH` is an exchange's WebSocket, `http://HOST:PORT/EXCHANGE/ORIGINAL-PATH` its
    REST side; `url` rewrites an original address. Beside them, `GET /_sim/state`, `POST /_sim/fault` and
    `DELETE /_sim/fault` show and switch what goes wrong.

    Args:
        host: Where to listen.
        port: Of the WebSocket side, REST takes the next one; 0: any two.
        seed: The same seed gives the same prices.
        products: Markets beside the built-in ones, as (exchange, symbol as subscribed, asset, quote). Those of
            exchanges not in `exchanges` are left out.
        rate: Multiplies how often everything trades.
        chaos_s: Mean seconds between faults chosen by the seed; 0: none.
        clock: Where time is read.

    Raises:
        UsageError: a rate or interval that makes no sense.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 1,
        products: Iterable[tuple[str, str, str, str]] | None = None,
        rate: float = 1.0,
        chaos_s: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        if not 0 < rate <= 1000:  # noqa: PLR2004 - more is a mistake
            raise UsageError(f"{rate} is not between 0 and 1000", where="rate", todo="1 is the usual pace")
        if chaos_s < 0:
            raise UsageError(f"{chaos_s} is negative", where="chaos", todo="give seconds, or 0 for none")
        self.seed = seed
        self.rate = rate
        self._clock = clock or SystemClock()
        self._host = host
        self._port = port
        self._catalogue = catalogue.load()
        self._products = self._catalogue.products(products or ())
        self._tasks = Tasks()
        self._http = HttpServer(Application(self))
        self._ws: asyncio.Server | None = None
        self._ports: dict[str, int] = {}
        self._started_ns = 0
        self.exchanges: Mapping[str, SimulatedExchange] = {
            name: SimulatedExchange(name, dialect, self._clock) for name, dialect in DIALECTS.items()
        }
        """By name; these are the exchanges there are dialects for."""
        self._plan = faults.schedule(seed, list(DIALECTS), chaos_s) if chaos_s else None
        self._planned = next(self._plan) if self._plan else None

    @property
    def ports(self) -> Mapping[str, int]:
        """`ws` and `rest`, once started."""
        return self._ports

    async def start(self) -> None:
        """Builds the market, lives through its first seconds and listens.

        Raises:
            OSError: an address can't be had.
        """
        self._build()
        self._ws = await ws_create_server(router(self.exchanges), self._host, self._port, enable_auto_pong=False)
        self._ports["ws"] = int(self._ws.sockets[0].getsockname()[1])
        for name, exchange in self.exchanges.items():
            exchange.origin = self.url(name, "wss://x/").removesuffix("/")
        self._ports["rest"] = await self._http.start(self._host, self._port + 1 if self._port else 0)
        self._tasks.spawn("simulator", self._run())

    async def stop(self) -> None:
        """Closes every connection and listens no more; may be called in any state."""
        await self._tasks.cancel()
        if self._ws:
            self._ws.close()
        for exchange in self.exchanges.values():
            for session in tuple(exchange.sessions):
                session.close(1001, "the simulator stops")
        await self._http.stop()
        self._ws = None
        self._ports = {}

    def url(self, exchange: str, original: str) -> str:
        """The simulator's address for an exchange's original one; placeholders in it stay as they are.

        Raises:
            UsageError: an exchange without a dialect, or an address that is neither ws(s) nor http(s).
        """
        self._named(exchange)
        parts = urlsplit(original)
        side = {"ws": "ws", "wss": "ws", "http": "rest", "https": "rest"}.get(parts.scheme)
        if side is None:
            raise UsageError(f"{original!r} is no address", where=exchange, todo="it begins with wss:// or https://")
        host = "127.0.0.1" if self._host in ("", "0.0.0.0", "::") else self._host  # noqa: S104 - compared, not bound
        host = f"[{host}]" if ":" in host else host
        scheme = "ws" if side == "ws" else "http"
        query = f"?{parts.query}" if parts.query else ""
        return f"{scheme}://{host}:{self._ports[side]}/{exchange}{parts.path or '/'}{query}"

    def fault(self, exchange: str, kind: str, seconds: float | None = None, **args: float | str) -> None:
        """Makes something go wrong with an exchange, or with all for `*`; see `faults.KINDS`.

        Args:
            exchange: Its name.
            kind: What.
            seconds: For how long; None: until it is cleared, 0: once.
            args: As the kind takes them.

        Raises:
            UsageError: unknown exchange, kind or argument.
        """
        for each in self._named(exchange):
            each.fault(kind, seconds, args)

    def clear(self, exchange: str = "*", kind: str | None = None) -> None:
        """Ends the faults of an exchange, or one kind of them."""
        for each in self._named(exchange):
            each.faults.clear(kind)

    def state(self) -> dict[str, object]:
        """Connections, subscriptions, frames and faults of every exchange."""
        exchanges = {name: exchange.state() for name, exchange in self.exchanges.items()}
        return {"seed": self.seed, "rate": self.rate, "ports": self._ports, "exchanges": exchanges}

    def _named(self, name: str) -> list[SimulatedExchange]:
        if name == "*":
            return list(self.exchanges.values())
        if name not in self.exchanges:
            raise UsageError(
                f"the simulator doesn't speak {name!r}", where="exchange", todo=f"one of {', '.join(self.exchanges)}"
            )
        return [self.exchanges[name]]

    def _build(self) -> None:
        styles = {name: dialect.style for name, dialect in DIALECTS.items()}
        self._market = Market(
            self._catalogue,
            [product for product in self._products if not product.halted],
            styles,
            seed=self.seed,
            rate=self.rate,
            now_ns=self._clock.wall_ns(),
        )
        for exchange in self.exchanges.values():
            exchange.instruments = {
                symbol: instrument
                for (name, symbol), instrument in self._market.instruments.items()
                if name == exchange.name
            }
            exchange.halted = [each for each in self._products if each.halted and each.exchange == exchange.name]
        self._started_ns = self._clock.monotonic_ns()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._tick()

    def _tick(self) -> None:
        age_s = (self._clock.monotonic_ns() - self._started_ns) / SECOND_NS
        while self._plan and self._planned and self._planned[0] <= age_s:
            planned = self._planned[1]
            self.fault(planned.exchange, planned.kind, planned.seconds)
            self._planned = next(self._plan)
        traded = self._market.advance(self._clock.wall_ns())
        for name, exchange in self.exchanges.items():
            exchange.tick(traded.get(name, []))
