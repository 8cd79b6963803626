"""Rows that run without consequences: connections, extraction and prices of their own, which no client can ask for.

The engine is never started: it has no socket and no worker, only a price table.
"""

import asyncio
import ssl

from beast._fast import Engine
from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.feeds.manager import FeedManager
from beast.feeds.rest.exchanges import RestPrices
from beast.feeds.rows.files import Exchange
from beast.feeds.shadow.observer import Observer, Prices
from beast.feeds.wanted import Urls
from beast.prices.catalogue import Catalogue


class Trial:
    """One exchange's rows on trial.

    Args:
        rows: Them.
        live: What they are compared with.
        engine: Holds their prices, and nothing else; see engine_for().
        urls: Where to connect instead, for a simulator.
        tls: For wss and https.
        clock: The time.
    """

    def __init__(
        self, rows: Exchange, live: Prices, engine: Engine, *, urls: Urls, tls: ssl.SSLContext, clock: Clock
    ) -> None:
        self.rows = rows
        catalogue = Catalogue(engine, max_instruments=_places(rows))
        self._feeds = FeedManager(engine, catalogue, urls=urls, clock=clock, tls=tls)
        self._rest = RestPrices(self._feeds.row, clock=clock, urls=urls, tls=tls)
        own = Prices(engine, catalogue, self._feeds)
        self.observer = Observer(rows.feed.name, own, live, clock, self._rest.fetch)

    async def start(self) -> None:
        """Connects. Raises BeastError when the rows can't run."""
        try:
            await self._feeds.apply([self.rows])
        except ValueError as error:
            raise BeastError(str(error), where=self.rows.feed.name) from error

    def set_backfill(self, backfill_ms: int) -> None:
        """A trade that is further behind the clock than this is no price of this moment."""
        self._feeds.set_backfill(backfill_ms)

    async def stop(self) -> None:
        """Closes the connections."""
        await self.observer.stop()
        await self._rest.close()
        await self._feeds.stop()


async def engine_for(rows: Exchange) -> Engine:
    """An engine for rows on trial, made on another thread: its memory takes some ms to come."""
    return await asyncio.to_thread(
        Engine,
        node="shadow",
        max_keys=1024,
        max_instruments=_places(rows),
        udp_buffer=65_536,
        usage_ring=64,
        miss_ring=64,
        http_max_connections=16,
    )


def _places(rows: Exchange) -> int:
    return max(64, sum(row.enabled for row in rows.assets))
