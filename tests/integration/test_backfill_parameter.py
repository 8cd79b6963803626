"""How old a trade may be on arrival, changed while the exchange's connection is open."""

import asyncio
import time
from typing import Any

import msgspec
import pytest
from tests.fixtures.exchange import Peer, running_exchange

from beast._fast import Engine
from beast.feeds.manager import FeedManager
from beast.feeds.rows.files import Exchange
from beast.feeds.types import Feed, Mapping
from beast.prices.catalogue import Catalogue

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

ROW = {
    "name": "test",
    "subscribe_template": '{"op":"sub","id":"{ID}","args":"{SYMBOLS}"}',
    "trade_filter": [{"path": "e", "value": "trade"}],
    "price_path": "p",
    "symbol_path": "s",
    "timestamp_path": "t",
    "timestamp_format": "unix_ms",
    "ack_filter": [{"path": "ok", "value": True}],
    "ack_symbol_path": "symbol",
}


async def test_a_new_backfill_holds_for_open_connections() -> None:
    engine = Engine(node="test", max_instruments=64, ttl_ms=4_000)
    manager = FeedManager(engine, Catalogue(engine, max_instruments=64))

    async def state_2s_after_a_trade(peer: Peer, price: str) -> Any:
        """Of a trade that is 3 s old when it comes."""
        peer.trade("A", price, t=time.time_ns() // 10**6 - 3_000)
        while (held := engine.peek(0)) is None or held["price"] != price:  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(0.005)
        received_ns = held["received_ns"]
        assert isinstance(received_ns, int)
        later = engine.peek(0, received_ns + 2 * 10**9)
        return later and later["state"]

    async with running_exchange() as exchange:
        feed = msgspec.convert({**ROW, "ws_url": exchange.url}, Feed)
        await manager.apply([Exchange(feed, (Mapping(asset="A", symbol="A", currency="USD"),))])
        peer = await exchange.peer(0)
        assert await state_2s_after_a_trade(peer, "1") == "live"
        manager.set_backfill(1_000)
        assert await state_2s_after_a_trade(peer, "2") == "quiet"
        await manager.stop()
