"""What the simulator sends, faults and all, recorded and played again."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from beast._fast import Engine
from beast.base.clock import SystemClock
from beast.feeds.manager import FeedManager
from beast.feeds.recording.file import find_parts
from beast.feeds.recording.recorder import PartWriter, Recorder, new_head
from beast.feeds.recording.replay import Replay
from beast.feeds.recording.tap import TappedEngine
from beast.feeds.rows.files import read_rows
from beast.feeds.simulator import Simulator
from beast.prices.catalogue import Catalogue
from beast.prices.sweep import sweep

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAMES = ("binance", "kucoin", "bitfinex", "hitbtc", "htx")
PLACES = 256


def beast(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    variables = {**kept, "BEAST_HOME": str(home), **environment}
    command = [sys.executable, "-m", "beast", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=60)


async def record(folder: Path) -> tuple[int, dict[tuple[str, str], dict[str, object] | None]]:
    """Records some stormy seconds; returns when it last looked, in ns since 1970, and what the engine held then."""
    rows = [read_rows(EXAMPLES / f"{name}.toml") for name in NAMES]
    clock = SystemClock()
    engine = Engine(node="test", max_instruments=PLACES)
    head = new_head(clock, version="test", max_instruments=PLACES)
    recorder = Recorder(PartWriter(folder, head, max_bytes=1 << 26, part_bytes=20_000), clock)
    tap = TappedEngine(engine, recorder)
    tap.set_rules(ttl_ms=100, band_bps=50, confirmations=2, quorum=2, outlier_bps=10, live_without_link_ms=0)
    catalogue = Catalogue(tap, max_instruments=PLACES)
    simulator = Simulator(rate=20)
    await simulator.start()
    manager = FeedManager(engine, catalogue, urls=simulator.url, rng=Random(1), tap=tap)
    sweeping = asyncio.create_task(sweep(tap, clock))
    await manager.apply(rows)
    for kind in ("malformed", "spike", "disconnect", "silence"):
        await asyncio.sleep(1)
        simulator.fault("*", kind, 0.5)
    await manager.apply(rows[1:])
    await asyncio.sleep(1)
    now_ns = clock.monotonic_ns()
    held = {(each.market.exchange, each.market.asset): engine.peek(each.id, now_ns) for each in catalogue.instruments()}
    sweeping.cancel()
    await manager.stop()
    await simulator.stop()
    recorder.close()
    assert recorder.figures.missing == 0
    return now_ns + head.wall_ns - head.monotonic_ns, held


def test_a_storm_is_played_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    until_ns, held = asyncio.run(record(folder))
    assert len(find_parts([folder])) > 1
    replay = Replay(find_parts([folder]), every_ms=50, until_ns=until_ns)
    changes = list(replay.play())
    assert {change.state for change in changes} >= {"live", "quiet", "stale"}
    assert "binance" in {change.exchange for change in changes if change.price is None}
    found = {
        (market.exchange, market.asset): (market.price, market.time_ns, market.state) for market in replay.markets()
    }
    assert any(held.values())
    for market, price in held.items():
        expected = (price["price"], price["time_ns"], price["state"]) if price else (None, None, None)
        assert found[market] == expected, market

    digests = [beast(tmp_path, "replay", str(folder), "--digest", "--json", PYTHONHASHSEED=seed) for seed in ("1", "2")]
    assert digests[0].returncode == 0, digests[0].stderr
    assert digests[0].stdout == digests[1].stdout
    told = json.loads(digests[0].stdout)
    assert (told["missing"], told["ended"], told["damage"]) == (0, True, "")
    assert told["frames"] > 500


def test_commands_record_and_replay(tmp_path: Path) -> None:
    rows = str(EXAMPLES / "binance.toml")
    made = beast(tmp_path, "record", "--feeds", "sim", "--rows", rows, "--minutes", "0.05", "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["frames"] > 0
    assert told["parts"] == 1
    shown = [beast(tmp_path, "replay", told["folder"], *given) for given in ((), ("--json",), ("--changes",))]
    assert [each.returncode for each in shown] == [0, 0, 0], shown
    assert [each.stderr for each in shown] == ["", "", ""]
    market = json.loads(shown[1].stdout.splitlines()[0])
    assert list(market) == ["exchange", "asset", "price", "currency", "timestamp", "state"]
    assert f"binance {market['asset']} {market['price']} USDT" in shown[0].stdout
    assert f"binance {market['asset']} {market['price']} USDT" in shown[2].stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["record", "--rows", str(EXAMPLES / "binance.toml"), "--exchange", "okx"], 2, "there is no exchange 'okx'"),
        (["record", "--max-size", "1 tree"], 2, "--max-size"),
        (["record", "--rows", str(EXAMPLES / "binance.toml"), "--out", "/dev/null/x"], 1, "/dev/null/x"),
        (["replay", "nothing.beast.zst"], 1, "nothing.beast.zst"),
        (["replay", str(EXAMPLES / "binance.toml")], 1, "is no recording"),
        (["replay", str(EXAMPLES), "--at", "noon"], 2, "--at"),
    ],
)
def test_what_cannot_be_done_is_told(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    done = beast(tmp_path, *arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
