"""How fast a recorded hour is played: python -m bench.replay.run [frames a second] [markets]."""

import random
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from beast._fast import Engine, Ingest, Plan
from beast.base.clock import ManualClock
from beast.feeds.recording.file import find_parts
from beast.feeds.recording.recorder import PartWriter, Recorder, new_head
from beast.feeds.recording.replay import Digest, Replay
from beast.feeds.recording.tap import TappedEngine
from beast.feeds.rows.files import Exchange, read_rows
from beast.feeds.rows.plan import compile_plan, fold

HOUR_S = 3600
ROWS = Path(__file__).parents[2] / "docs" / "examples" / "binance.toml"


def main() -> None:
    per_second, markets = (int(given) for given in (*sys.argv[1:3], "300", "900")[:2])
    with tempfile.TemporaryDirectory() as folder:
        frames = record_hour(Path(folder), per_second, markets)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(f"{frames} frames of {markets} markets, {size / 1e6:.1f} MB")
        for name, watch in (("prices at the end", False), ("digest of all changes", True)):
            began_s, total = time.monotonic(), Digest()
            for change in Replay(find_parts([Path(folder)]), every_ms=1000 if watch else 0, watch=watch).play():
                total.add(change)
            took_s = time.monotonic() - began_s
            print(f"{name}: {took_s:.1f} s, {HOUR_S / took_s:.0f} x real time, {frames / took_s:.0f} frames/s, {total}")


def record_hour(folder: Path, per_second: int, markets: int) -> int:
    """Trades of a market drawn anew for each frame."""
    exchange = read_rows(ROWS)
    clock, rng = ManualClock(), random.Random(1)
    engine = Engine(node="bench")
    writer = PartWriter(folder, new_head(clock, version="bench", max_instruments=16_384), max_bytes=1 << 32)
    recorder = Recorder(writer, clock, waiting_max=1 << 30)
    tap = TappedEngine(engine, recorder)
    tap.set_rules(ttl_ms=13_000, band_bps=1_000, confirmations=2, quorum=2, outlier_bps=100, live_without_link_ms=0)
    tap.set_rows([Exchange(exchange.feed, exchange.assets)])
    batch = tap.batch()
    batch.add([(n, f"A{n}", "binance", "USDT", 1, 0, 1, None) for n in range(markets)])
    tap.load_instruments(batch)
    sink = tap.reader("binance", 0, Ingest(engine, Plan(compile_plan(exchange.feed)), 0, backfill_ns=5 * 10**9), 0)
    sink.set_symbols([(fold(exchange.feed, f"A{n}USDT").encode(), n) for n in range(markets)])
    sink.set_epoch(tap.link_up(0, 30 * 10**9, clock.monotonic_ns()))
    step_ns, sweep_ns = 10**9 // per_second, clock.monotonic_ns()
    for number in range(HOUR_S * per_second):
        clock.advance(ns=step_ns)
        if clock.monotonic_ns() > sweep_ns:
            sweep_ns += 250 * 10**6
            tap.sweep(clock.monotonic_ns())
        trade = {
            "e": "trade",
            "E": clock.wall_ns() // 10**6,
            "s": f"A{rng.randrange(markets)}USDT",
            "t": number,
            "p": f"{rng.uniform(99, 101):.8f}",
            "q": f"{rng.random():.8f}",
            "T": clock.wall_ns() // 10**6,
            "m": rng.random() > 0.5,
            "M": True,
        }
        frame = msgspec.json.encode({"stream": f"{str(trade['s']).lower()}@trade", "data": trade})
        sink.feed(frame, clock.monotonic_ns(), clock.wall_ns())
    recorder.close()
    assert not recorder.figures.missing
    assert engine.counters()["ws_trades"]
    return recorder.figures.frames


if __name__ == "__main__":
    main()
