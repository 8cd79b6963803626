"""Rows that change under open connections: only what differs is asked for, and nothing else notices."""

import msgspec
import pytest
from tests.fixtures.exchange import FakeExchange, Peer
from tests.fixtures.feeds import House, feed, markets, until

from beast.feeds.rows.files import Exchange
from beast.feeds.types import Condition, Mapping

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FAREWELL = '{"op":"unsub","id":"{ID}","args":"{SYMBOLS}"}'


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def said(peer: Peer) -> list[tuple[str, list[str]]]:
    return [(message["op"], message["args"]) for message in peer.messages]


async def test_symbols_come_and_go_on_the_open_connection(house: House, exchange: FakeExchange) -> None:
    row = feed(exchange.url, unsubscribe_template=FAREWELL)
    await house.manager.apply([Exchange(row, markets("BTC", "ETH"))])
    peer = await exchange.peer(0)
    await until(lambda: house.status().acked == 2)
    peer.trade("ETH", "7")
    await house.price("ETH", "7")
    await house.manager.apply([Exchange(row, markets("ETH", "SOL"))])
    assert house.peek("test", "BTC") is None
    await until(lambda: house.status().acked == 2)
    assert said(peer) == [("sub", ["BTC", "ETH"]), ("unsub", ["BTC"]), ("sub", ["SOL"])]
    peer.trade("SOL", "9")
    assert (await house.price("SOL", "9"))["state"] == "live"
    assert (house.peek("test", "ETH") or {})["state"] == "live"
    assert (len(exchange.peers), house.status().reconnects, house.status().wanted) == (1, 0, 2)


async def test_where_nothing_can_be_unsubscribed_a_symbol_is_dropped_here(house: House, exchange: FakeExchange) -> None:
    row = feed(exchange.url, symbols_per_connection=2)
    await house.manager.apply([Exchange(row, markets("BTC", "ETH"))])
    peer = await exchange.peer(0)
    await until(lambda: house.status().acked == 2)
    peer.trade("BTC", "1")
    await house.price("BTC", "1")
    await house.manager.apply([Exchange(row, (*markets("ETH"), *markets("BTC", prewarm=False)))])
    assert house.peek("test", "BTC") is None  # nobody would notice that it grows old
    peer.trade("BTC", "2")
    await until(lambda: house.engine.counters()["trades_unmapped"] == 1)
    # It still takes its place on the first connection; when it is wanted again, it is there already.
    await house.manager.apply([Exchange(row, markets("ETH", "SOL"))])
    assert said(await exchange.peer(1)) or (await exchange.peers[1].message(0))["args"] == ["SOL"]
    await house.manager.apply([Exchange(row, markets("BTC", "ETH", "SOL"))])
    peer.trade("BTC", "3")
    await house.price("BTC", "3")
    assert said(peer) == [("sub", ["BTC", "ETH"])]
    assert len(exchange.peers) == 2


async def test_a_further_connection_takes_what_the_first_has_no_room_for(house: House, exchange: FakeExchange) -> None:
    row = feed(exchange.url, symbols_per_connection=2, unsubscribe_template=FAREWELL)
    await house.manager.apply([Exchange(row, markets("A", "B"))])
    await until(lambda: house.status().acked == 2)
    await house.manager.apply([Exchange(row, markets("A", "B", "C"))])
    await until(lambda: house.status().acked == 3)
    assert [said(peer) for peer in exchange.peers] == [[("sub", ["A", "B"])], [("sub", ["C"])]]
    await house.manager.apply([Exchange(row, markets("A", "B"))])
    await until(exchange.peers[1].closed.is_set)
    assert (house.status().connections, house.status().reconnects) == (1, 0)


async def test_streams_of_the_url_get_a_connection_of_their_own(house: House, exchange: FakeExchange) -> None:
    row = feed(exchange.url + "?streams={SYMBOLS:/}", subscribe_template="", ack_filter=[])
    a, b = (Mapping(asset=symbol.upper(), symbol=symbol, currency="USD") for symbol in "ab")
    await house.manager.apply([Exchange(row, (a,))])
    await exchange.peer(0)
    await house.manager.apply([Exchange(row, (a, b))])
    assert (await exchange.peer(1)).path == "/ws?streams=b"
    assert not exchange.peers[0].closed.is_set()


async def test_a_symbol_that_means_another_asset_now_keeps_its_subscription(
    house: House, exchange: FakeExchange
) -> None:
    row = feed(exchange.url)
    await house.manager.apply([Exchange(row, markets("BTC", "ETH"))])
    peer = await exchange.peer(0)
    await until(lambda: house.status().acked == 2)
    peer.trade("BTC", "1")
    await house.price("BTC", "1")
    other = Mapping(asset="WBTC", symbol="BTC", currency="EUR")
    await house.manager.apply([Exchange(row, (other, *markets("ETH")))])
    assert house.peek("test", "BTC") is None
    assert house.peek("test", "WBTC") is None
    peer.trade("BTC", "2")
    await house.price("WBTC", "2")
    assert said(peer) == [("sub", ["BTC", "ETH"])]


async def test_columns_for_reading_are_taken_over_by_the_open_connection(house: House, exchange: FakeExchange) -> None:
    row = feed(exchange.url)
    await house.manager.apply([Exchange(row, markets("BTC"))])
    peer = await exchange.peer(0)
    await until(lambda: house.status().acked == 1)
    peer.trade("BTC", "1")
    await house.price("BTC", "1")
    changed = msgspec.structs.replace(
        row,
        trade_filter=(Condition("e", value="deal"),),
        price_path="deal.price",
        symbol_fold="lower",
        notice_filter=(Condition("x", value=1),),
        display_name="Test",
        priority=3,
        ping_interval_ms=20,
        ping_template="ping",
    )
    mapping = Mapping(asset="BTC", symbol="BTC", wire_symbol="btc", currency="USD")
    await house.manager.apply([Exchange(changed, (mapping,))])
    peer.say(bye="now means nothing")
    peer.trade("BTC", "2")
    peer.say(e="deal", s="BtC", deal={"price": "3"})
    await house.price("BTC", "3")
    assert await peer.message(1) == "ping"
    assert (len(exchange.peers), house.status().reconnects) == (1, 0)


async def test_columns_that_a_connection_is_made_by_make_a_new_one(house: House, exchange: FakeExchange) -> None:
    one, two = feed(exchange.url, name="one"), feed(exchange.url, name="two")
    await house.manager.apply([Exchange(one, markets("BTC")), Exchange(two, markets("BTC"))])
    await exchange.peer(1)
    moved = msgspec.structs.replace(one, ws_url=exchange.url + "/other")
    await house.manager.apply([Exchange(moved, markets("BTC")), Exchange(two, markets("BTC"))])
    assert (await exchange.peer(2)).path == "/ws/other"
    await until(lambda: sum(peer.closed.is_set() for peer in exchange.peers) == 1)
    assert house.status("two").reconnects == 0
