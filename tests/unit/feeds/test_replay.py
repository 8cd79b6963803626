import random
from pathlib import Path
from typing import cast

import msgspec
import pytest
from tests.fixtures.feeds import feed, markets

from beast._fast import Engine, Ingest, Plan
from beast.base.clock import ManualClock
from beast.base.errors import BeastError
from beast.feeds.recording.file import Epoch, Event, Frame, Parameters, find_parts, pack, pack_block, read_blocks
from beast.feeds.recording.recorder import PartWriter, Recorder, new_head
from beast.feeds.recording.replay import Change, Digest, Replay
from beast.feeds.recording.tap import TappedEngine
from beast.feeds.rows.files import Exchange
from beast.feeds.rows.plan import compile_plan

ROWS = Exchange(feed("ws://127.0.0.1/"), markets("BTC", "ETH"))
RULES = {"band_bps": 1000, "confirmations": 2, "quorum": 2, "outlier_bps": 100}


class Feeding:
    """One connection, by hand, with everything recorded."""

    def __init__(self, folder: Path, *, live_without_link_ms: int = 0) -> None:
        self.clock = ManualClock()
        self.engine = Engine(node="test", max_instruments=16)
        head = new_head(self.clock, version="1", max_instruments=16)
        self.recorder = Recorder(PartWriter(folder, head, max_bytes=1 << 22), self.clock)
        self.tap = TappedEngine(self.engine, self.recorder)
        self.tap.set_rules(ttl_ms=5_000, live_without_link_ms=live_without_link_ms, **RULES)
        self.tap.set_rows([ROWS])
        batch = self.tap.batch()
        batch.add([(0, "BTC", "test", "USD", 1, 0, 1, None), (1, "ETH", "test", "USD", 1, 0, 1, None)])
        self.tap.load_instruments(batch)
        ingest = Ingest(self.engine, Plan(compile_plan(ROWS.feed)), 0, backfill_ns=10**9)
        self.sink = self.tap.reader("test", 0, ingest, 10**9)
        self.sink.set_symbols([(b"BTC", 0), (b"ETH", 1)])

    def connect(self) -> None:
        self.sink.set_epoch(self.tap.link_up(0, 10 * 10**9, self.clock.monotonic_ns()))

    def trade(self, symbol: str, price: str, *, late_ms: int = 0) -> None:
        time_ms = self.clock.wall_ns() // 10**6 - late_ms
        frame = f'{{"e":"trade","s":"{symbol}","p":"{price}","t":{time_ms}}}'.encode()
        self.sink.feed(frame, self.clock.monotonic_ns(), self.clock.wall_ns())


def played(folder: Path) -> list[Change]:
    return list(Replay(find_parts([folder])).play())


def test_states_change_by_the_recorded_clock_alone(tmp_path: Path) -> None:
    feeding = Feeding(tmp_path)
    feeding.connect()
    feeding.trade("BTC", "1.50")
    for _ in range(8):
        feeding.clock.advance(1)
        feeding.tap.link_proven(0, feeding.clock.monotonic_ns())
    feeding.clock.advance(30)
    feeding.recorder.close()
    began_ns = ManualClock().wall_ns()
    found = [((change.at_ns - began_ns) // 10**9, change.price, change.state) for change in played(tmp_path)]
    assert found == [(0, "1.50", "live"), (6, "1.50", "quiet"), (19, "1.50", "stale")]


@pytest.mark.parametrize("spared_ms", [0, 3_000])
def test_a_lost_link_is_spared_as_it_was_when_it_was_recorded(tmp_path: Path, spared_ms: int) -> None:
    feeding = Feeding(tmp_path, live_without_link_ms=spared_ms)
    feeding.connect()
    feeding.trade("BTC", "1.50")
    feeding.tap.link_down(0)
    feeding.clock.advance(4)
    feeding.recorder.close()
    replay = Replay(find_parts([tmp_path]), every_ms=100)
    told = [(change.at_ns - ManualClock().wall_ns(), change.state) for change in replay.play()]
    assert [state for _, state in told] == ["live", "stale"]
    assert spared_ms * 10**6 <= told[1][0] <= spared_ms * 10**6 + 10**8
    assert replay.engine.peek(0, feeding.clock.monotonic_ns()) == feeding.engine.peek(0, feeding.clock.monotonic_ns())


def test_parameters_from_before_links_were_spared_are_read() -> None:
    old = msgspec.msgpack.encode(["parameters", 7, 13_000, 1000, 2, 2, 100])
    assert msgspec.msgpack.decode(old, type=Event) == Parameters(7, 13_000, 1000, 2, 2, 100, 0)


def test_a_price_forgotten_is_gone(tmp_path: Path) -> None:
    feeding = Feeding(tmp_path)
    feeding.connect()
    feeding.trade("BTC", "1.50")
    feeding.tap.forget(0)
    feeding.recorder.close()
    assert [(change.price, change.state) for change in played(tmp_path)] == [("1.50", "live"), (None, None)]


def stormy(feeding: Feeding) -> None:
    """Trades, late trades, jumps that are held back, a link that comes and goes."""
    rng = random.Random(3)
    feeding.connect()
    price = 100.0
    for number in range(3_000):
        feeding.clock.advance(ms=rng.choice((1, 20, 400)))
        price *= rng.choice((1, 1.001, 0.999, 1.3 if number % 50 == 0 else 1))
        feeding.trade(rng.choice(("BTC", "ETH")), f"{price:.4f}", late_ms=rng.choice((0, 0, 5, 3_000)))
        if number % 13 == 0:
            feeding.tap.sweep(feeding.clock.monotonic_ns())
        if number % 500 == 499:
            feeding.tap.link_down(0)
            feeding.clock.advance(7)
            feeding.connect()
    feeding.recorder.close()


def digest(replay: Replay) -> str:
    total = Digest()
    for change in replay.play():
        total.add(change)
    return str(total)


def split(folder: Path, into: Path) -> None:
    """The same recording in many files."""
    part = find_parts([folder])[0]
    writer = PartWriter(into, part.head, max_bytes=1 << 22, part_bytes=4_000)
    with part.path.open("rb") as file:
        events = [event for block in read_blocks(file) for event in cast("tuple[Event, ...]", block)]
    for start in range(1, len(events), 100):
        writer.write(events[start : start + 100])
    writer.close()


def test_a_recording_in_many_files_says_what_it_says_in_one(tmp_path: Path) -> None:
    stormy(Feeding(tmp_path / "one"))
    split(tmp_path / "one", tmp_path / "many")
    one, many = (find_parts([tmp_path / name]) for name in ("one", "many"))
    assert len(one) == 1
    assert len(many) > 5
    assert digest(Replay(one)) == digest(Replay(many)) == digest(Replay(one))
    last = Replay(many[-1:])
    assert list(last.play())
    assert not last.told.damage


def test_the_end_is_what_the_engine_held(tmp_path: Path) -> None:
    feeding = Feeding(tmp_path)
    stormy(feeding)
    replay = Replay(find_parts([tmp_path]), every_ms=0, watch=False)
    list(replay.play())
    for number in (0, 1):
        live = feeding.engine.peek(number, feeding.clock.monotonic_ns())
        again = replay.engine.peek(number, feeding.clock.monotonic_ns())
        assert live == again
        assert live is not None
    assert feeding.engine.counters()["trades_held"] == replay.engine.counters()["trades_held"] > 0


def test_a_file_that_is_missing_and_a_torn_one_are_told(tmp_path: Path) -> None:
    stormy(Feeding(tmp_path / "one"))
    split(tmp_path / "one", tmp_path / "many")
    parts = find_parts([tmp_path / "many"])
    holey = Replay([parts[0], *parts[2:]])
    list(holey.play())
    assert holey.told.damage == "part 1 of the recording is not there, 2 is"
    path = parts[-1].path
    path.write_bytes(path.read_bytes()[:-1])
    torn = Replay(find_parts([tmp_path / "many"]))
    list(torn.play())
    assert torn.told.damage.endswith("the file ends inside a block")
    assert not torn.told.ended


@pytest.mark.parametrize("event", [Frame(10**12, 99, 1, b"{}"), Epoch(10**12, 0, 5), Frame(10**18, 0, 1, b"{}")])
def test_a_recording_that_contradicts_itself_is_refused(tmp_path: Path, event: Frame | Epoch) -> None:
    feeding = Feeding(tmp_path)
    feeding.recorder.close()
    part = find_parts([tmp_path])[0]
    part.path.write_bytes(part.path.read_bytes() + pack_block([pack(event)]))
    with pytest.raises(BeastError, match=r"contradicts itself|leaps over"):
        list(Replay([part]).play())


def test_it_stops_where_it_is_told_to(tmp_path: Path) -> None:
    feeding = Feeding(tmp_path)
    feeding.connect()
    feeding.trade("BTC", "1")
    feeding.clock.advance(1)
    moment = feeding.clock.wall_ns()
    feeding.clock.advance(1)
    feeding.trade("BTC", "2")
    feeding.recorder.close()
    replay = Replay(find_parts([tmp_path]), until_ns=moment)
    list(replay.play())
    assert [(market.price, market.at_ns) for market in replay.markets()] == [("1", moment), (None, moment)]
