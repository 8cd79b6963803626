"""Beast itself, all of it that brings prices, in the loop of a world."""

import ssl
from collections.abc import Sequence
from hashlib import sha256
from random import Random
from typing import Any, Final, cast

from tests.chaos.world import World

from beast._fast import Engine
from beast.base.tasks import Tasks
from beast.feeds.manager import FeedManager
from beast.feeds.rest.exchanges import RestPrices
from beast.feeds.watch.gaps import Gap, GapBook
from beast.feeds.watch.refill import Refill
from beast.feeds.watch.watchdog import Watchdog
from beast.prices.catalogue import Catalogue
from beast.prices.sweep import sweep
from beast.prices.tiers import Tiers

TTL_NS: Final = 13 * 10**9
KEY: Final = b"tb_chaos"
_TLS: Final = ssl.create_default_context()


class Book(GapBook):
    """Keeps gaps to be read."""

    def __init__(self, **more: Any) -> None:
        super().__init__(cast("Any", None), **more)
        self.gaps: list[Gap] = []

    def add(self, gap: Gap) -> None:
        self.gaps.append(gap)
        super().add(gap)


class House:
    """One server without its doors: what is asked goes through the query door."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.clock = world, world.clock
        self.engine = Engine(node="chaos", max_keys=64, max_instruments=64, usage_ring=1024)
        self.engine.put_key(sha256(KEY).digest(), 1, per_second=0, burst=0, partner=True)
        self.engine.set_price_rules(band_bps=1_000, confirmations=2, quorum=2, outlier_bps=100)
        self.catalogue = Catalogue(self.engine, max_instruments=64)
        self.feeds = FeedManager(
            self.engine, self.catalogue, urls=world.url, clock=self.clock, rng=Random(seed), tls=_TLS, opener=world.open
        )
        self.rest = RestPrices(
            self.feeds.row, clock=self.clock, urls=self.feeds.address, tls=_TLS, transport=world.transport
        )
        self.tiers = Tiers(self.engine, self.catalogue, shared=None, rest=self.rest, clock=self.clock)
        self.book = Book(node="chaos", clock=self.clock)
        self.refill = Refill(self.engine, self.tiers.refresh, self.book, self.clock)
        self.watchdog = Watchdog(
            self.feeds, self.engine, self.catalogue, book=self.book, refill=self.refill, clock=self.clock
        )
        self.tasks = Tasks()

    async def start(self) -> None:
        await self.feeds.apply(self.world.rows())
        self.tasks.spawn("sweep", sweep(self.engine, self.clock))
        self.tasks.spawn("watchdog", self.watchdog.run())

    async def stop(self) -> None:
        await self.refill.stop()
        await self.tiers.stop()
        await self.rest.close()
        await self.feeds.stop()
        await self.tasks.cancel()

    def ask_memory(self, asset: str, exchange: str | None, **more: Any) -> bytes | None:
        """What a client is told at once; None: he has to wait for the slower tiers."""
        status, body = self._query([asset], exchange, 1, **more)
        return body if status else None

    async def ask_tiers(self, asset: str, exchange: str | None, **more: Any) -> bytes:
        """What he is told then, as the routes have it."""
        await self.tiers.find([asset], exchange, more.get("max_age_ms"))
        return self._query([asset], exchange, 2, **more)[1]

    def _query(self, assets: Sequence[str], exchange: str | None, turn: int, **more: Any) -> tuple[int, bytes]:
        now_ns = self.clock.monotonic_ns()
        answer = self.engine.query(KEY, assets, many=False, exchange=exchange, turn=turn, now_ns=now_ns, **more)
        return answer[0], answer[1]
