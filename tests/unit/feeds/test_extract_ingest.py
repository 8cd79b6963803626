"""Frames into the price table: order, freshness, epochs, counters."""

import pytest

from beast._fast import Engine, Ingest, Plan
from beast.feeds.rows.plan import compile_plan
from beast.feeds.types import Condition, Feed

S = 10**9
WALL = 1_777_802_400 * S
NOW = 5_000 * S
BTC, ETH, LINK = 3, 4, 1


def feed_row(fold: str = "none", prefix: str = "", end: str = "last") -> Feed:
    return Feed(
        name="made",
        ws_url="ws://x",
        trade_filter=(Condition("c", value="t"),),
        price_path=f"d.[{end}].p",
        symbol_path=f"d.[{end}].s",
        timestamp_path=f"d.[{end}].t",
        timestamp_format="unix_ns",
        symbol_fold=fold,  # type: ignore[arg-type]
        symbol_strip_prefix=prefix,
    )


def frame(*trades: tuple[str, str, int]) -> bytes:
    elements = ",".join(f'{{"s":"{s}","p":{p},"t":{t}}}' for s, p, t in trades)
    return f'{{"c":"t","d":[{elements}]}}'.encode()


class Feeder:
    """An ingest with its engine, and what one asks of them."""

    def __init__(self, row: Feed | None = None) -> None:
        self.engine = Engine(node="test")
        self.engine.load_instruments(
            [(BTC, "BTC", "made", "USD", 1, LINK), (ETH, "ETH", "made", "USD", 1, LINK)],
        )
        self.ingest = Ingest(self.engine, Plan(compile_plan(row or feed_row())), LINK, backfill_ns=2 * S)
        self.ingest.set_symbols([(b"BTC-USD", BTC), (b"ETH-USD", ETH)])
        self.connect(NOW)

    def connect(self, now_ns: int) -> None:
        self.ingest.set_epoch(self.engine.link_up(LINK, 30 * S, now_ns))

    def held(self, instrument: int = BTC) -> tuple[object, object, object] | None:
        peeked = self.engine.peek(instrument, NOW)
        return None if peeked is None else (peeked["price"], peeked["time_ns"], peeked["received_ns"])

    def state(self, now_ns: int) -> object:
        peeked = self.engine.peek(BTC, now_ns)
        assert peeked is not None
        return peeked["state"]

    def count(self, *names: str) -> dict[str, int]:
        counters = self.engine.counters()
        return {name: counters[name] for name in names}


@pytest.fixture
def feeder() -> Feeder:
    return Feeder()


def test_a_trade_is_published_with_its_time_and_its_receipt(feeder: Feeder) -> None:
    assert feeder.ingest.feed(frame(("BTC-USD", "91500.10", WALL - S)), NOW, WALL) == 1
    assert feeder.held() == ("91500.10", WALL - S, NOW)
    assert feeder.count("frames", "ws_trades") == {"frames": 1, "ws_trades": 1}


def test_an_older_trade_never_wins_and_an_equal_one_does(feeder: Feeder) -> None:
    for price, time_ns in (("2", WALL - S), ("1", WALL - S - 1), ("3", WALL - S)):
        feeder.ingest.feed(frame(("BTC-USD", price, time_ns)), NOW, WALL)
    assert feeder.held() == ("3", WALL - S, NOW)
    assert feeder.count("ws_trades", "trades_outdated") == {"ws_trades": 2, "trades_outdated": 1}


def test_a_trade_from_the_future_does_not_shut_out_the_next_one(feeder: Feeder) -> None:
    feeder.ingest.feed(frame(("BTC-USD", "1", WALL + 3_600 * S)), NOW, WALL)
    feeder.ingest.feed(frame(("BTC-USD", "2", WALL + S)), NOW + S, WALL + S)
    assert feeder.held() == ("2", WALL + S, NOW + S)


def test_a_clock_set_back_shuts_out_no_newer_trade(feeder: Feeder) -> None:
    feeder.ingest.feed(frame(("BTC-USD", "1", WALL)), NOW, WALL)
    for price, time_ns in (("0.5", WALL - S), ("2", WALL + S)):
        feeder.ingest.feed(frame(("BTC-USD", price, time_ns)), NOW + S, WALL - 3_600 * S)
    assert feeder.held() == ("2", WALL + S, NOW + S)
    feeder.ingest.feed(b'{"c":"t","d":[{"s":"BTC-USD","p":3}]}', NOW + 2 * S, WALL - 3_599 * S)
    assert feeder.held() == ("3", WALL - 3_599 * S, NOW + 2 * S)


def test_a_trade_without_a_time_is_dated_by_the_clock(feeder: Feeder) -> None:
    feeder.ingest.feed(b'{"c":"t","d":[{"s":"BTC-USD","p":7}]}', NOW, WALL)
    assert feeder.held() == ("7", WALL, NOW)


def test_a_connection_that_comes_back_with_an_older_trade_than_rest_has_told_is_not_believed(feeder: Feeder) -> None:
    feeder.ingest.feed(frame(("BTC-USD", "1", WALL)), NOW, WALL)
    feeder.engine.publish(BTC, b"3", WALL + 10 * S, NOW + 10 * S, tier=3)
    feeder.connect(NOW + 11 * S)
    feeder.ingest.feed(frame(("BTC-USD", "2", WALL + 5 * S)), NOW + 11 * S, WALL + 11 * S)
    assert feeder.held() == ("3", WALL + 10 * S, NOW + 10 * S)
    feeder.ingest.feed(frame(("BTC-USD", "4", WALL + 6 * S)), NOW + 12 * S, WALL + 12 * S)
    assert feeder.held() == ("4", WALL + 6 * S, NOW + 12 * S)
    feeder.engine.publish(BTC, b"5.0", WALL + 20 * S, NOW + 20 * S, tier=3)
    feeder.connect(NOW + 21 * S)
    feeder.ingest.feed(frame(("BTC-USD", "5", WALL + 15 * S)), NOW + 21 * S, WALL + 21 * S)  # the same one
    assert feeder.held() == ("5", WALL + 15 * S, NOW + 21 * S)


def test_a_trade_whose_price_can_not_be_read_leaves_no_price_quiet(feeder: Feeder) -> None:
    later = NOW + 20 * S
    feeder.ingest.feed(frame(("BTC-USD", "1", WALL)), NOW, WALL)
    assert feeder.state(later) == "quiet"
    for bad in (b'{"c":"t","d":[{"s":"ETH-USD","p":null}]}', b'{"c":"t","d":[{"s":"BTC-USD","price_v2":3}]}'):
        feeder.ingest.feed(bad, NOW + S, WALL + S)
        assert (feeder.state(NOW + S), feeder.state(later)) == ("live", "stale")
        feeder.ingest.feed(frame(("BTC-USD", "2", WALL + S)), NOW + S, WALL + S)
        assert feeder.state(later) == "quiet"


def test_a_backfilled_trade_is_fresh_since_its_own_time_only(feeder: Feeder) -> None:
    feeder.engine.set_ttl_ms(13_000)
    feeder.ingest.feed(frame(("BTC-USD", "1", WALL - 12 * S)), NOW, WALL)
    assert (feeder.state(NOW), feeder.state(NOW + 2 * S)) == ("live", "quiet")
    feeder.ingest.feed(frame(("BTC-USD", "1.5", WALL - 2 * S)), NOW, WALL)
    assert feeder.state(NOW + 12 * S) == "live"
    feeder.ingest.set_backfill_ns(S)
    feeder.ingest.feed(frame(("BTC-USD", "1.6", WALL - 2 * S)), NOW, WALL)
    assert (feeder.state(NOW + 10 * S), feeder.state(NOW + 12 * S)) == ("live", "quiet")


def test_a_trade_told_again_over_a_new_connection_is_proven_but_not_newer(feeder: Feeder) -> None:
    trade = frame(("BTC-USD", "1", WALL))
    feeder.ingest.feed(trade, NOW, WALL)
    later = NOW + 20 * S
    feeder.connect(later)
    assert feeder.state(later) == "stale"
    feeder.ingest.feed(trade, later, WALL + 20 * S)
    assert feeder.state(later) == "quiet"
    assert feeder.held() == ("1", WALL, NOW)


def test_every_frame_proves_the_link(feeder: Feeder) -> None:
    for number, data in enumerate((frame(("BTC-USD", "1", WALL)), b'{"c":"heartbeat"}', b"pong", b""), 1):
        feeder.ingest.feed(data, NOW + number, WALL)
        assert feeder.engine.link_state(LINK)[2] == NOW + number


def test_every_frame_and_every_trade_is_counted_once(feeder: Feeder) -> None:
    kinds = [
        feeder.ingest.feed(data, NOW, WALL)
        for data in (
            frame(("BTC-USD", "1", WALL), ("ETH-USD", "2", WALL), ("NOPE-USD", "3", WALL), ("BTC-USD", "0", WALL)),
            b'{"c":"t","d":[{"p":1}]}',
            b'{"c":"t","d":[]}',
            b'{"c":"ack"}',
            b"{",
            frame(*((f"S{i}", "1", WALL) for i in range(65))),
        )
    ]
    assert kinds == [1, 1, 1, 0, 2, 1]
    assert feeder.held(ETH) == ("2", WALL, NOW)
    counted = feeder.count(
        "frames", "frames_ignored", "frames_malformed", "ws_trades", "trades_unmapped", "trades_bad_price"
    )
    assert counted == {
        "frames": 6,
        "frames_ignored": 1,
        "frames_malformed": 1,
        "ws_trades": 2,
        "trades_unmapped": 1 + 1 + 64,
        "trades_bad_price": 1,
    }
    assert feeder.ingest.tally() == (6, 2, 1, 66, 1)


def test_symbols_are_looked_up_without_prefix_and_folded() -> None:
    feeder = Feeder(feed_row("upper", "trade.", "first"))
    feeder.ingest.feed(frame(("trade.btc-usd", "5", WALL), ("eth-USD", "6", WALL), ("trade.", "7", WALL)), NOW, WALL)
    assert (feeder.held(BTC), feeder.held(ETH)) == (("5", WALL, NOW), ("6", WALL, NOW))
    assert feeder.count("trades_unmapped") == {"trades_unmapped": 1}


def test_the_last_frame_tells_whose_trades_it_had(feeder: Feeder) -> None:
    assert feeder.ingest.touched() == []
    feeder.ingest.feed(frame(("ETH-USD", "2", WALL), ("NOPE", "1", WALL), ("BTC-USD", "1", WALL)), NOW, WALL)
    assert feeder.ingest.touched() == [ETH, BTC]
    feeder.ingest.feed(frame(("BTC-USD", "3", WALL - S)), NOW, WALL)
    assert feeder.ingest.touched() == [BTC]  # outdated, but it was told
    feeder.ingest.feed(b'{"c":"other"}', NOW, WALL)
    assert feeder.ingest.touched() == []


def test_new_symbols_keep_the_order_of_those_that_stay(feeder: Feeder) -> None:
    feeder.ingest.feed(frame(("BTC-USD", "1", WALL)), NOW, WALL)
    feeder.ingest.set_symbols([(b"ETH-USD", ETH), (b"BTC-USD", BTC), *((f"S{i}".encode(), 100 + i) for i in range(50))])
    feeder.ingest.feed(frame(("BTC-USD", "2", WALL - S), ("ETH-USD", "3", WALL - S)), NOW, WALL)
    assert (feeder.held(BTC), feeder.held(ETH)) == (("1", WALL, NOW), ("3", WALL - S, NOW))


def test_a_symbol_whose_instrument_is_not_in_the_table_is_unmapped(feeder: Feeder) -> None:
    feeder.ingest.set_symbols([(b"OLD-USD", 999)])
    feeder.ingest.feed(frame(("OLD-USD", "1", WALL), ("BTC-USD", "1", WALL)), NOW, WALL)
    assert feeder.count("ws_trades", "trades_unmapped") == {"ws_trades": 0, "trades_unmapped": 2}


@pytest.mark.parametrize("symbols", [[(b"", 1)], [(b"x" * 65, 1)], [(b"A", 1), (b"A", 2)]])
def test_symbols_that_can_not_be_are_refused_and_nothing_changes(
    feeder: Feeder, symbols: list[tuple[bytes, int]]
) -> None:
    with pytest.raises(ValueError, match="symbols"):
        feeder.ingest.set_symbols(symbols)
    feeder.ingest.feed(frame(("BTC-USD", "1", WALL)), NOW, WALL)
    assert feeder.held() == ("1", WALL, NOW)


def test_engine_and_plan_outlive_their_names() -> None:
    feeder = Feeder()
    ingest = feeder.ingest
    del feeder
    assert ingest.feed(frame(("BTC-USD", "1", WALL)), NOW, WALL) == 1


@pytest.mark.parametrize("arguments", [(), (b"{}",), (b"{}", NOW), ("{}", NOW, WALL), (b"{}", "x", WALL), (b"{}",) * 4])
def test_a_call_that_can_not_be_meant_is_a_type_error(feeder: Feeder, arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        feeder.ingest.feed(*arguments)  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        feeder.ingest.feed(b"{}", 2**63, WALL)
