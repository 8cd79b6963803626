import json
from itertools import islice

import pytest

from beast.base.clock import ManualClock
from beast.base.errors import UsageError
from beast.feeds.simulator import catalogue, faults
from beast.feeds.simulator.dialects import DIALECTS
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.faults import FaultRequest
from beast.feeds.simulator.market import Market


class Wire:
    """A client of simulated OKX, subscribed to BTC and ETH."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.exchange = SimulatedExchange("okx", DIALECTS["okx"], self.clock)
        listed = catalogue.load()
        products = [each for each in listed.products() if each.exchange == "okx" and each.asset in ("BTC", "ETH")]
        styles = {"okx": DIALECTS["okx"].style}
        self.market = Market(listed, products, styles, seed=1, rate=1, now_ns=self.clock.wall_ns())
        self.exchange.instruments = {symbol: each for (_, symbol), each in self.market.instruments.items()}
        self.sent: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.session = self.exchange.connect(self, "/ws/v5/public")
        args = [{"channel": "trades", "instId": symbol} for symbol in ("BTC-USDT", "ETH-USDT")]
        self.session.receive(json.dumps({"op": "subscribe", "args": args}).encode())

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def ping(self) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def wait(self, seconds: float) -> list[bytes]:
        self.sent.clear()
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
            self.exchange.tick(self.market.advance(self.clock.wall_ns()).get("okx", []))
        return list(self.sent)

    def fault(self, kind: str, seconds: float | None = None, **args: float | str) -> None:
        self.exchange.fault(kind, seconds, args)


def test_silence_sends_nothing_for_its_time_only() -> None:
    wire = Wire()
    wire.fault("silence", 5)
    assert wire.wait(4.9) == []
    assert wire.wait(5)


def test_silence_leaves_no_backlog() -> None:
    wire = Wire()
    wire.fault("slow", None, ms=3000)
    wire.wait(2)
    wire.fault("silence", 5)
    wire.exchange.faults.clear("slow")
    wire.wait(5)
    newest = json.loads(wire.wait(2)[0])["data"][0]["ts"]
    assert int(newest) >= (wire.clock.wall_ns() - 2_100_000_000) // 1_000_000


def test_a_half_open_link_hears_nothing_and_never_closes() -> None:
    wire = Wire()
    wire.fault("half-open", 100)
    wire.sent.clear()
    wire.session.receive(b"ping")
    assert wire.sent == []
    assert wire.wait(99) == []
    assert wire.closed == []
    assert wire.session.deaf()


@pytest.mark.parametrize("code", [0, 1001])
def test_disconnect_ends_links_at_once_and_as_long_as_it_lasts(code: int) -> None:
    wire = Wire()
    wire.fault("disconnect", 1, code=code)
    assert wire.closed == [(code, "simulated disconnect")]
    wire.wait(0.5)
    assert len(wire.closed) > 1
    wire.wait(1)
    wire.closed.clear()
    wire.wait(1)
    assert wire.closed == []


def test_a_disconnect_of_no_seconds_happens_once() -> None:
    wire = Wire()
    wire.fault("disconnect", 0)
    wire.wait(1)
    assert len(wire.closed) == 1


def test_a_new_schema_calls_prices_otherwise_and_stays_json() -> None:
    wire = Wire()
    wire.fault("schema", 5)
    frames = [json.loads(frame) for frame in wire.wait(4.9)]
    assert frames
    assert all("px_v2" in each and "px" not in each and "sz" in each for frame in frames for each in frame["data"])
    wire.fault("schema", 5, member="sz")
    assert all("sz_v2" in each and "px" in each for frame in wire.wait(4.9) for each in json.loads(frame)["data"])


def test_malformed_frames_are_cut_and_every_nth_only_if_told() -> None:
    wire = Wire()
    wire.fault("malformed", None, every=3)
    frames = wire.wait(20)
    broken = [frame for frame in frames if not frame.endswith(b"}]}")]
    assert len(frames) // 3 <= len(broken) + 1 <= len(frames) // 3 + 2
    for frame in broken:
        with pytest.raises(json.JSONDecodeError):
            json.loads(frame)


def test_slow_frames_come_late_complete_and_in_order() -> None:
    fast, slow = Wire(), Wire()
    slow.fault("slow", None, ms=2000)
    expected = fast.wait(10)
    found = slow.wait(12)
    assert found[: len(expected)] == expected
    slow_start = Wire()
    slow_start.fault("slow", None, ms=2000)
    assert slow_start.wait(1.9) == []


def test_a_spike_multiplies_what_is_told_and_leaves_the_market_alone() -> None:
    wire, calm = Wire(), Wire()
    wire.fault("spike", 5, factor=3, symbol="BTC-USDT")
    for frame, other in zip(wire.wait(5), calm.wait(5), strict=True):
        (told,), (true,) = json.loads(frame)["data"], json.loads(other)["data"]
        factor = 3 if told["instId"] == "BTC-USDT" else 1
        assert float(told["px"]) == pytest.approx(factor * float(true["px"]), rel=1e-6)
    assert wire.wait(5) == calm.wait(5)


def test_faults_last_until_cleared_when_no_time_is_given() -> None:
    wire = Wire()
    wire.fault("silence")
    wire.fault("slow")
    assert wire.wait(1000) == []
    assert [fault.kind for fault in wire.exchange.faults.active()] == ["silence", "slow"]
    wire.exchange.faults.clear("silence")
    assert [fault.kind for fault in wire.exchange.faults.active()] == ["slow"]
    wire.exchange.faults.clear()
    assert wire.wait(5)


@pytest.mark.parametrize(
    ("kind", "seconds", "args", "message"),
    [
        ("silense", 1, {}, "use one of silence, half_open"),
        ("slow", 1, {"sec": 1.0}, "it takes ms"),
        ("silence", 1, {"ms": 1.0}, "it takes none"),
        ("slow", 1, {"ms": "much"}, "wrong type"),
        ("spike", 1, {"symbol": 1.0}, "wrong type"),
        ("spike", 1, {"factor": -1.0}, "not between"),
        ("disconnect", 1, {"code": 70000}, "not between"),
        ("silence", -1, {}, "not between"),
        ("silence", float("nan"), {}, "not between"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    kind: str, seconds: float, args: dict[str, float | str], message: str
) -> None:
    wire = Wire()
    with pytest.raises(UsageError, match=message):
        wire.exchange.fault(kind, seconds, args)
    assert wire.exchange.faults.active() == []


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("coinbase:silence:30", FaultRequest("coinbase", "silence", 30.0)),
        ("*:half-open", FaultRequest("*", "half-open")),
        ("okx:slow:1.5:ms=500", FaultRequest("okx", "slow", 1.5, {"ms": 500.0})),
        (
            "okx:spike::factor=2:symbol=BTC-USDT",
            FaultRequest("okx", "spike", None, {"factor": 2.0, "symbol": "BTC-USDT"}),
        ),
    ],
)
def test_faults_are_read_from_the_command_line(flag: str, expected: FaultRequest) -> None:
    assert faults.parse(flag) == expected


@pytest.mark.parametrize("flag", ["", "coinbase", ":silence", "coinbase:", "coinbase:silence:soon", "okx:slow:1:ms"])
def test_an_unreadable_fault_says_how_to_write_one(flag: str) -> None:
    with pytest.raises(UsageError, match="write EXCHANGE:KIND"):
        faults.parse(flag)


def stamps(frames: list[bytes]) -> list[int]:
    return [int(json.loads(frame)["data"][0]["tradeId"]) for frame in frames if b'"data"' in frame and b"BTC" in frame]


def test_duplicates_come_again_behind_the_first() -> None:
    wire = Wire()
    wire.fault("duplicate", every=1)
    told = stamps(wire.wait(20))
    assert len(told) > len(set(told)) >= 10
    assert all(told.count(number) == 2 for number in told[:-8])


def test_reordered_frames_are_overtaken_and_none_is_lost() -> None:
    wire, orderly = Wire(), Wire()
    wire.fault("reorder", every=3, ms=2_000)
    told = stamps(wire.wait(20))
    wire.exchange.faults.clear()
    told += stamps(wire.wait(5))
    assert told != sorted(told)
    assert sorted(told) == stamps(orderly.wait(25))


@pytest.mark.parametrize(
    ("args", "shift_ms"), [({"ahead_ms": 5_000}, 5_000), ({"ahead_ms": 0, "behind_ms": 700}, -700)]
)
def test_a_skewed_exchange_dates_all_by_its_own_clock(args: dict[str, float], shift_ms: int) -> None:
    wire, right = Wire(), Wire()
    wire.fault("skew", 10, **args)
    pairs = zip(wire.wait(9), right.wait(9), strict=True)
    shifts = [int(json.loads(a)["data"][0]["ts"]) - int(json.loads(b)["data"][0]["ts"]) for a, b in pairs]
    assert set(shifts) == {shift_ms}
    assert wire.exchange.wall_ns() - right.exchange.wall_ns() == shift_ms * 10**6
    assert wire.wait(2)
    assert wire.exchange.wall_ns() == wire.clock.wall_ns()


def test_the_seed_decides_the_schedule() -> None:
    names = list(DIALECTS)
    first, again, other = (list(islice(faults.schedule(seed, names, 60.0), 200)) for seed in (1, 1, 2))
    assert first == again != other
    times = [at_s for at_s, _ in first]
    assert times == sorted(times)
    assert 30 < times[-1] / 200 < 120
    assert {request.kind for _, request in first} == set(faults.KINDS)
    assert {request.exchange for _, request in first} == set(names)
