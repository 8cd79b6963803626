"""Feeds against a real socket: a small exchange on loopback, the real engine, uvloop as in production."""

import asyncio

import msgspec
import pytest
from picows import WSCloseCode, WSMsgType
from tests.fixtures.exchange import FakeExchange
from tests.fixtures.feeds import House, feed, markets, until

from beast.base.clock import ManualClock
from beast.feeds.link import link
from beast.feeds.manager import ExchangeStatus
from beast.feeds.rows.files import Exchange, Unreadable
from beast.feeds.types import Mapping

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

NORMAL = 1000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


async def test_a_trade_becomes_a_price(house: House, exchange: FakeExchange) -> None:
    assert house.manager.ready()
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC", "ETH"))])
    assert not house.manager.ready()
    peer = await exchange.peer(0)
    assert await peer.message(0) == {"op": "sub", "id": 1, "args": ["BTC", "ETH"]}
    peer.trade("BTC", "83421.5700", t=1_776_000_000_123)
    held = await house.price("BTC", "83421.5700")
    assert held["time_ns"] == 1_776_000_000_123_000_000
    assert house.manager.ready()
    status = await until(lambda: house.status().acked == 2 and house.status())
    assert isinstance(status, ExchangeStatus)
    assert status.connected
    assert (status.connections, status.wanted, status.refused, status.reconnects) == (1, 2, (), 0)
    assert status.since is not None
    assert status.last_frame_age_ms is not None


async def test_the_quiet_price_of_a_living_link_and_the_stale_one_of_a_lost_link(
    house: House, exchange: FakeExchange
) -> None:
    house.engine.set_ttl_ms(1)
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
    peer = await exchange.peer(0)
    peer.trade("BTC", "1.5")
    await house.price("BTC", "1.5")
    await until(lambda: (house.peek("test", "BTC") or {})["state"] == "quiet")
    exchange.refuses_connections = True
    peer.drop()
    await until(lambda: (house.peek("test", "BTC") or {})["state"] == "stale")
    exchange.refuses_connections = False
    again = await exchange.peer(1)
    await again.message(0)
    assert (house.peek("test", "BTC") or {})["state"] == "stale"
    again.trade("BTC", "1.6")
    assert (await house.price("BTC", "1.6"))["epoch"] == 2
    assert house.engine.counters()["ws_reconnects"] >= 1
    assert house.status().reconnects >= 1


async def test_a_peer_that_vanished_is_noticed(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url, patience_ms=1000), markets("BTC"))])
    await (await exchange.peer(0)).message(0)
    exchange.mute = True
    await exchange.peer(1)
    assert house.status().last_error == "silent for 1000 ms"


async def test_pongs_keep_a_silent_link_alive(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url, patience_ms=1000), markets("BTC"))])
    peer = await exchange.peer(0)
    await until(lambda: peer.pings >= 4)
    assert len(exchange.peers) == 1


async def test_fragments_and_long_frames(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
    peer = await exchange.peer(0)
    peer.send(b'{"e":"trade","s":"B', fin=False)
    peer.send(b"", WSMsgType.PING)
    peer.send(b'TC","p":"2', WSMsgType.CONTINUATION, fin=False)
    peer.send(b'.5"}', WSMsgType.CONTINUATION)
    await house.price("BTC", "2.5")
    peer.trade("BTC", "3.5", book=["x" * 1000] * 3000)
    await house.price("BTC", "3.5")


async def test_text_that_is_no_json_is_no_error(house: House, exchange: FakeExchange) -> None:
    row = feed(exchange.url, ping_interval_ms=50, ping_template="ping")
    await house.manager.apply([Exchange(row, markets("BTC"))])
    peer = await exchange.peer(0)
    assert await peer.message(1) == "ping"
    peer.send("pong")
    peer.send(b"\xff\xfe", WSMsgType.BINARY)
    peer.trade("BTC", "1")
    await house.price("BTC", "1")
    assert house.status().last_error == ""


async def test_a_notice_makes_it_reconnect(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
    peer = await exchange.peer(0)
    peer.say(bye="upgrade")
    await (await exchange.peer(1)).message(0)
    assert peer.close_code == NORMAL
    assert house.status().last_error == ""


async def test_a_close_is_told_with_its_reason(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
    (await exchange.peer(0)).close(WSCloseCode.GOING_AWAY, "maintenance")
    await exchange.peer(1)
    assert house.status().last_error == "closed by the exchange: maintenance (code 1001)"


async def test_heartbeats_are_answered(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
    peer = await exchange.peer(0)
    peer.send('{"hb": 1782032467342000111}')
    assert await peer.message(1) == {"op": "alive", "hb": 1782032467342000111}


async def test_a_refused_symbol_is_dropped_and_the_rest_kept(house: House, exchange: FakeExchange) -> None:
    exchange.bad_symbols = {"NOPE"}
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC", "NOPE", "ETH"))])
    await until(lambda: house.status().acked == 2)
    assert house.status().refused == ("NOPE",)
    assert house.status().last_error == "symbol refused: no such market"
    assert house.status().connected


async def test_the_price_of_a_symbol_withdrawn_is_gone(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC", "ETH"))])
    peer = await exchange.peer(0)
    await until(lambda: house.status().acked == 2)
    peer.trade("BTC", "1")
    await house.price("BTC", "1")
    peer.say(error={"msg": "delisted", "symbol": "BTC"})
    await until(lambda: house.peek("test", "BTC") is None)
    assert house.status().refused == ("BTC",)


async def test_one_bad_symbol_of_a_refused_message_is_found(house: House, exchange: FakeExchange) -> None:
    exchange.bad_symbols = {"S5", "S11"}
    exchange.refuses_whole_messages = True
    row = feed(exchange.url, error_scope="message", error_symbol_path="")
    await house.manager.apply([Exchange(row, markets(*(f"S{n}" for n in range(16))))])
    await until(lambda: house.status().acked == 14)
    assert set(house.status().refused) == {"S5", "S11"}
    (await exchange.peer(0)).drop()
    await until(lambda: len(exchange.peers) == 2 and house.status().acked == 14)
    assert [message["args"] for message in exchange.peers[1].messages][1:] == [["S5"], ["S11"]]


async def test_a_handshake_refused_is_told_and_tried_again(house: House, exchange: FakeExchange) -> None:
    exchange.refuses_connections = True
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
    await until(lambda: house.status().reconnects >= 2)
    assert "404" in house.status().last_error
    assert not house.status().connected


async def test_nobody_listens(house: House) -> None:
    await house.manager.apply([Exchange(feed("ws://127.0.0.1:9/"), markets("BTC"))])
    await until(lambda: house.status().reconnects >= 2)
    assert house.status().last_error.startswith("can't connect: ")
    assert house.status().last_frame_age_ms is None


async def test_an_exchange_without_prices_is_waited_for_only_so_long() -> None:
    clock = ManualClock()
    house = House(clock)
    await house.manager.apply([Exchange(feed("ws://127.0.0.1:9/"), markets("BTC"))])
    assert not house.manager.ready()
    clock.advance(21)
    assert house.manager.ready()
    await house.manager.stop()


async def test_wire_symbols_are_folded_as_the_row_says(house: House, exchange: FakeExchange) -> None:
    row = feed(exchange.url, symbol_fold="upper", symbol_strip_prefix="trade.")
    mapping = Mapping(asset="BTC", symbol="btc_usd", wire_symbol="btc-usd", currency="USD")
    await house.manager.apply([Exchange(row, (mapping,))])
    peer = await exchange.peer(0)
    peer.trade("trade.BTC-usd", "5")
    await house.price("BTC", "5")


async def test_connections_are_split_and_each_has_its_link(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url, symbols_per_connection=2), markets("A", "B", "C"))])
    await exchange.peer(1)
    sent = sorted([(await exchange.peer(n)).messages or [await exchange.peers[n].message(0)] for n in (0, 1)], key=str)
    assert [message[0]["args"] for message in sent] == [["A", "B"], ["C"]]
    assert house.catalogue.link("test", 0) != house.catalogue.link("test", 1)
    await until(lambda: house.status().acked == 3)
    assert house.status().connections == 2


async def test_streams_in_the_url(house: House, exchange: FakeExchange) -> None:
    row = feed(
        exchange.url + "?streams={SYMBOLS:/}", subscribe_template="", symbol_template="{SYMBOL}@trade", ack_filter=[]
    )
    await house.manager.apply([Exchange(row, (Mapping(asset="BTC", symbol="btc", currency="USD"),))])
    peer = await exchange.peer(0)
    assert peer.path == "/ws?streams=btc@trade"
    await until(lambda: house.status().acked == 1)


async def test_only_what_changed_is_reconnected(house: House, exchange: FakeExchange) -> None:
    one, two = feed(exchange.url, name="one"), feed(exchange.url, name="two")
    await house.manager.apply([Exchange(one, markets("BTC")), Exchange(two, markets("BTC"))])
    await exchange.peer(1)
    for peer in exchange.peers:
        await peer.message(0)
        peer.trade("BTC", "7")
    await house.price("BTC", "7", "one")
    await house.price("BTC", "7", "two")

    renamed = msgspec.structs.replace(one, display_name="One", priority=5)
    await house.manager.apply(
        [Exchange(renamed, markets("BTC", category="coin")), Exchange(two, markets("BTC", "ETH"))]
    )
    await until(lambda: house.status("two").acked == 2)
    assert sorted(message["args"] for peer in exchange.peers for message in peer.messages) == [
        ["BTC"],
        ["BTC"],
        ["ETH"],
    ]
    assert len(exchange.peers) == 2
    assert [house.peek(name, "BTC")["state"] for name in ("one", "two")] == ["live", "live"]  # type: ignore[index]
    assert [each.name for each in house.catalogue.exchanges() if each.priority == 5] == ["one"]


async def test_an_exchange_switched_off_is_closed_and_its_prices_are_gone(house: House, exchange: FakeExchange) -> None:
    one, two = feed(exchange.url, name="one"), feed(exchange.url, name="two")
    await house.manager.apply([Exchange(one, markets("BTC")), Exchange(two, markets("BTC"))])
    await exchange.peer(1)
    for peer in exchange.peers:
        await peer.message(0)
        peer.trade("BTC", "7")
    await house.price("BTC", "7", "one")
    await house.manager.apply(
        [Exchange(msgspec.structs.replace(one, enabled=False), markets("BTC")), Exchange(two, markets("BTC"))]
    )
    assert house.peek("one", "BTC") is None
    await until(lambda: sum(peer.close_code == NORMAL for peer in exchange.peers) == 1)
    assert [status.name for status in house.manager.status()] == ["two"]
    await house.manager.apply([Exchange(one, markets("BTC"))])
    again = await exchange.peer(2)
    await again.message(0)
    assert house.peek("one", "BTC") is None
    again.trade("BTC", "8")
    await house.price("BTC", "8", "one")


async def test_a_row_that_cannot_run_stops_no_other(house: House, exchange: FakeExchange) -> None:
    bad = feed(exchange.url, name="bad", subscribe_template="{")
    await house.manager.apply([Exchange(bad, markets("BTC")), Exchange(feed(exchange.url), markets("BTC"))])
    await until(lambda: house.status().connected)
    assert "subscribe_template: not JSON" in house.status("bad").last_error
    assert not house.status("bad").connected

    await house.manager.apply([Exchange(feed(exchange.url, price_path="a..b"), markets("BTC"))])
    assert house.status().connected
    assert "price_path" in house.status().last_error

    await house.manager.apply([], [Unreadable("test", True, "can't be read"), Unreadable("off", False, "nor this")])  # noqa: FBT003
    assert house.status().connected
    assert house.status().last_error == "can't be read"
    assert [status.name for status in house.manager.status()] == ["test"]
    assert len(exchange.peers) == 1


async def test_what_is_not_prewarmed_is_known_but_not_subscribed(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url), (*markets("BTC"), *markets("RARE", prewarm=False)))])
    assert (await (await exchange.peer(0)).message(0))["args"] == ["BTC"]
    assert house.catalogue.find("test", "RARE") is not None


async def test_a_server_that_never_answers_the_handshake(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "CONNECT_S", 0.2)
    callers: set[asyncio.StreamWriter] = set()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.add(writer)
        await reader.read()
        writer.close()
        callers.remove(writer)

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await house.manager.apply([Exchange(feed(f"ws://127.0.0.1:{port}/"), markets("BTC"))])
    await until(lambda: house.status().reconnects >= 2)
    assert house.status().last_error == "no connection within 0.2 s"
    await house.manager.stop()
    await until(lambda: not callers)
    server.close()


async def test_a_stop_does_not_wait_long_for_a_peer_that_vanished(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
    await (await exchange.peer(0)).message(0)
    exchange.mute = True
    async with asyncio.timeout(2.5):
        await house.manager.stop()


async def test_stop_says_goodbye(house: House, exchange: FakeExchange) -> None:
    await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
    peer = await exchange.peer(0)
    await peer.message(0)
    await house.manager.stop()
    assert peer.close_code == NORMAL
    assert house.manager.status() == []
    assert house.engine.link_state(0)[0] is False


async def test_rows_that_change_during_a_stop_start_nothing(house: House, exchange: FakeExchange) -> None:
    rows = [Exchange(feed(exchange.url), markets("BTC"))]
    await house.manager.apply(rows)
    await (await exchange.peer(0)).message(0)
    await asyncio.gather(house.manager.stop(), house.manager.apply([]), house.manager.apply(rows))
    assert house.manager.status() == []


async def test_an_exchange_whose_times_are_behind_ours_is_told(exchange: FakeExchange) -> None:
    clock = ManualClock()
    house = House(clock)
    await house.manager.apply([Exchange(feed(exchange.url), markets("A", "B", "C", "D"))])
    peer = await exchange.peer(0)
    await until(lambda: house.status().acked == 4)
    clock.advance(11)
    for symbol, lag_ms in (("A", 9_000), ("B", 8_123), ("C", 10_000)):
        peer.trade(symbol, "1", t=clock.wall_ns() // 10**6 - lag_ms)
        await house.price(symbol, "1")
    told = "this exchange's times are 8123 ms behind ours"
    assert (house.status().last_error, house.status().degraded) == (told, told)
    peer.trade("D", "1", t=clock.wall_ns() // 10**6 - 4_000)
    await house.price("D", "1")
    assert house.status().degraded == ""
    await house.manager.stop()


async def test_a_half_open_exchange_is_named_until_it_is_heard_again(exchange: FakeExchange) -> None:
    clock = ManualClock()
    house = House(clock)
    degraded: dict[str, str | None] = {}
    watching = asyncio.create_task(house.manager.watch(degraded.__setitem__))
    try:
        await house.manager.apply([Exchange(feed(exchange.url), markets("BTC"))])
        await until(lambda: house.status().acked == 1)
        clock.advance(ms=1)
        peer = await exchange.peer(0)
        peer.trade("BTC", "0.5")
        await house.price("BTC", "0.5")
        exchange.mute = True
        assert house.status().degraded == ""
        clock.advance(4)
        assert house.status().degraded == ""
        clock.advance(17)
        assert house.status().degraded == "1 of 1 connections: open, but silent for 21000 ms"
        await until(lambda: degraded.get("exchange test"))
        exchange.mute = False
        peer.trade("BTC", "1")
        await house.price("BTC", "1")
        await until(lambda: degraded["exchange test"] is None)
    finally:
        exchange.mute = False
        watching.cancel()
        await house.manager.stop()
