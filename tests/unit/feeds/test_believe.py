"""Trades that jump: held back, confirmed, dropped, and what is answered meanwhile."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast._fast import Engine, Ingest, Plan
from beast.feeds.rows.plan import compile_plan
from beast.feeds.types import Condition, Feed

S = 10**9
WALL = 1_777_802_400 * S
NOW = 5_000 * S
OWN, OTHER, THIRD, CONSENSUS = 0, 1, 2, 3
BAND = 0.1
COUNTERS = ("ws_trades", "trades_held", "trades_confirmed", "trades_dropped")


def near(price: float, other: float) -> bool:
    return price <= other * (1 + BAND) and other <= price * (1 + BAND)


@dataclass
class Model:
    """The rule, written to be read: what is published, and what waits."""

    others: float | None = None
    recent: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    last: float | None = None
    published: float | None = None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))

    def trade(self, price: float, *, another: bool = True) -> None:
        """`another`: of a later moment than the one before, so that it can't be one told again."""
        again, self.last = price == self.last and not another, price
        if again:
            self.counts["ws_trades"] += not self.held
            return
        usual = bool(self.recent) and near(price, sorted(self.recent)[2])
        agreed = not self.recent if self.others is None else near(price, self.others)
        fits = bool(self.held) and near(price, self.held[0])
        if usual or agreed or (fits and another and len(self.held) >= 2):
            self.counts["trades_confirmed" if fits and not usual else "trades_dropped"] += len(self.held)
            self.counts["ws_trades"] += 1
            self.recent = [*self.recent[1:], price] if usual else [price] * 5
            self.held = []
            self.published = price
            return
        if fits and not another:
            return
        self.counts["trades_held"] += 1
        if not fits:
            self.counts["trades_dropped"] += len(self.held)
            self.held = []
        self.held.append(price)

    def sweep(self) -> None:
        if self.held and self.last and self.others is not None and near(self.last, self.others):
            self.counts["trades_confirmed"] += len(self.held)
            self.published = self.last
            self.recent = [self.last] * 5
            self.held = []


class Feeder:
    """One exchange's ingest, beside two others that are published by hand."""

    def __init__(self, band_bps: int | None = None, default_bps: int = 1000) -> None:
        self.engine = Engine(node="test", max_instruments=64)
        self.engine.set_price_rules(band_bps=default_bps, confirmations=2)
        self.engine.load_instruments(
            [
                (OWN, "BTC", "made", "USD", 1, 1, 1, band_bps),
                (OTHER, "BTC", "other", "USD", 1, 2),
                (THIRD, "BTC", "third", "USDT", 1, 2),
                (CONSENSUS, "BTC", "consensus", "USD", 0, 0),
            ]
        )
        row = Feed(
            name="made",
            ws_url="ws://x",
            trade_filter=(Condition("c", value="t"),),
            price_path="p",
            symbol_path="s",
            timestamp_path="t",
            timestamp_format="unix_ns",
        )
        self.plan = Plan(compile_plan(row))
        self.ingest = Ingest(self.engine, self.plan, 1, backfill_ns=2 * S)
        self.ingest.set_symbols([(b"BTC-USD", OWN)])
        self.ingest.set_epoch(self.engine.link_up(1, 3_600 * S, NOW))
        self.step = 0

    def trade(self, price: float | str, *, step: int = 1) -> None:
        self.step += step
        at = self.step * 1000
        frame = f'{{"c":"t","s":"BTC-USD","p":"{price}","t":{WALL + at}}}'.encode()
        self.ingest.feed(frame, NOW + at, WALL + at)

    def others(self, price: str, instrument: int = OTHER, *, received_ns: int = NOW) -> None:
        self.engine.publish(instrument, price.encode(), WALL, received_ns)

    def sweep(self) -> None:
        self.engine.sweep(NOW + self.step * 1000)

    @property
    def price(self) -> str | None:
        held = self.engine.peek(OWN, NOW)
        return None if held is None else str(held["price"])

    def state(self, now_ns: int) -> object:
        held = self.engine.peek(OWN, now_ns)
        assert held is not None
        return held["state"]

    @property
    def counts(self) -> dict[str, int]:
        counters = self.engine.counters()
        return {name: counters[name] for name in COUNTERS}


PRICES = st.sampled_from(["100", "104", "109", "112", "118", "150", "154", "90", "50", "1000"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["trade", "same moment"]), PRICES),
        st.tuples(st.just("others"), PRICES),
        st.tuples(st.just("sweep"), PRICES),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_rule_is_the_models(steps: list[tuple[str, str]]) -> None:
    feeder, model = Feeder(), Model()
    for what, price in steps:
        if what in {"trade", "same moment"}:
            later = what == "trade" or model.last is None
            feeder.trade(price, step=int(later))
            model.trade(float(price), another=later)
        elif what == "others":
            feeder.others(price)
            model.others = float(price)
        else:
            feeder.sweep()
            model.sweep()
        assert feeder.price is None if model.published is None else float(feeder.price or 0) == model.published
        assert feeder.counts == model.counts
        symbol = feeder.ingest.symbols()[0]
        assert symbol[6:] == (model.counts["trades_held"], model.counts["trades_confirmed"], len(model.held))


def test_a_jump_waits_for_two_more_trades() -> None:
    feeder = Feeder()
    for price in (100, 200, 201):
        feeder.trade(price)
        assert feeder.price == "100"
    feeder.trade(202)
    assert feeder.price == "202"
    assert feeder.counts == {"ws_trades": 2, "trades_held": 2, "trades_confirmed": 2, "trades_dropped": 0}


def test_a_trade_back_in_the_band_drops_what_was_held() -> None:
    feeder = Feeder()
    for price in (100, 200, 101):
        feeder.trade(price)
    assert feeder.price == "101"
    assert feeder.counts == {"ws_trades": 2, "trades_held": 1, "trades_confirmed": 0, "trades_dropped": 1}


def test_a_held_trade_told_again_confirms_nothing() -> None:
    feeder = Feeder()
    feeder.trade(100)
    feeder.trade(200)
    for _ in range(5):
        feeder.trade(200, step=0)
    assert feeder.price == "100"


def test_held_trades_of_one_moment_told_again_confirm_nothing() -> None:
    feeder = Feeder()
    feeder.trade(100)
    feeder.trade(200)
    for price in (201, 200, 201, 200, 201):
        feeder.trade(price, step=0)
    assert feeder.price == "100"
    assert feeder.counts == {"ws_trades": 1, "trades_held": 1, "trades_confirmed": 0, "trades_dropped": 0}
    for price in (202, 203):
        feeder.trade(price)
    assert feeder.price == "203"


def test_a_trade_of_the_same_moment_that_is_usual_is_believed() -> None:
    feeder = Feeder()
    feeder.trade(100)
    feeder.trade(200)
    feeder.trade(101, step=0)
    assert feeder.price == "101"


def test_while_a_trade_is_held_the_price_before_is_live_but_never_quiet() -> None:
    feeder = Feeder()
    feeder.trade(100)
    later = NOW + 60 * S
    assert feeder.state(later) == "quiet"
    feeder.trade(200)
    assert (feeder.state(NOW), feeder.state(later)) == ("live", "stale")
    feeder.trade(101)
    assert feeder.state(later) == "quiet"


def test_another_exchange_in_the_same_currency_confirms_at_once_or_when_it_moves() -> None:
    feeder = Feeder()
    feeder.trade(100)
    feeder.others("200")
    feeder.trade(201)
    assert feeder.price == "201"
    feeder.trade(300)
    feeder.others("299", THIRD)  # in USDT: another currency
    feeder.sweep()
    assert feeder.price == "201"
    feeder.others("299")
    feeder.sweep()
    assert feeder.price == "300"


def test_a_stale_price_confirms_and_contradicts_nothing() -> None:
    feeder = Feeder()
    feeder.others("200", received_ns=NOW - 60 * S)
    feeder.trade(100)
    feeder.trade(201)
    assert feeder.price == "100"


def test_a_first_price_that_others_contradict_waits() -> None:
    feeder = Feeder()
    feeder.others("200")
    feeder.trade(100)
    assert feeder.price is None
    assert feeder.counts["trades_held"] == 1


@pytest.mark.parametrize(("band_bps", "default_bps"), [(0, 1000), (None, 0)])
def test_a_band_of_nothing_believes_everything(band_bps: int | None, default_bps: int) -> None:
    feeder = Feeder(band_bps, default_bps)
    feeder.others("200")
    for price in (100, 300, 1):
        feeder.trade(price)
        assert feeder.price == str(price)


def test_an_assets_own_band_goes_before_the_default() -> None:
    feeder = Feeder(band_bps=50)
    feeder.trade(100)
    feeder.trade("100.6")
    assert feeder.price == "100"


def test_what_is_held_has_no_vote() -> None:
    feeder = Feeder()
    feeder.others("100")
    feeder.trade(100)
    feeder.sweep()
    assert feeder.engine.peek(CONSENSUS, NOW) is not None
    feeder.trade(200)
    feeder.sweep()
    assert feeder.engine.peek(CONSENSUS, NOW) is None


def test_a_consensus_follows_its_sources_within_the_frame() -> None:
    feeder = Feeder()
    feeder.others("100")
    feeder.trade(100)
    assert feeder.engine.peek(CONSENSUS, NOW) is not None
    feeder.trade(101, step=500)  # half a millisecond later: not yet
    feeder.others("102")
    feeder.trade(103, step=1000)
    held = feeder.engine.peek(CONSENSUS, NOW)
    assert held is not None
    assert held["price"] == "102"


def test_a_symbol_tells_how_often_it_trades() -> None:
    feeder = Feeder()
    assert feeder.ingest.symbols() == [(b"BTC-USD", OWN, 0, 0, 0, 0, 0, 0, 0)]
    for _ in range(100):
        feeder.trade(100, step=1000)
    feeder.trade(100, step=0)  # told again
    symbol = feeder.ingest.symbols()[0]
    assert symbol[:4] == (b"BTC-USD", OWN, 100, NOW + 100 * 10**6)
    assert symbol[4] == 10**6
    assert symbol[5] < 100


def test_frames_read_are_timed_now_and_then() -> None:
    feeder = Feeder()
    for _ in range(65):
        feeder.trade(100)
    assert sum(count for _, count in feeder.engine.histograms()["visible"]) == 2


def test_an_ingest_that_is_gone_is_swept_no_more() -> None:
    feeder = Feeder()
    others = [Ingest(feeder.engine, feeder.plan, 1, backfill_ns=S) for _ in range(3)]
    for other in others:
        other.set_symbols([(b"BTC-USD", OWN)])
    del others[1], other
    feeder.sweep()
    others.clear()
    feeder.trade(100)
    feeder.trade(200)
    feeder.others("200")
    feeder.sweep()
    assert feeder.price == "200"
