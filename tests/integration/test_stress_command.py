"""beast stress as its users see it: targets, verdicts, exit codes."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beast._fast import Engine, monotonic_ns

pytestmark = pytest.mark.integration

KEY = "tb_test"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(node="Stress", max_keys=64, max_instruments=8)
    engine.load_instruments([(0, "BTC", "coinbase", "USD", 1, 0)])
    engine.put_key(hashlib.sha256(KEY.encode()).digest(), 1, per_second=0, burst=1, partner=True)
    engine.put_key(hashlib.sha256(b"tb_slow").digest(), 2, per_second=1, burst=5)
    engine.link_up(0, 3600 * 10**9, monotonic_ns())
    engine.publish(0, b"83421.57", 1_775_000_000_123_456_000, monotonic_ns())
    engine.start()
    yield engine
    engine.stop()


def command(home: Path, *arguments: str) -> dict[str, Any]:
    """What subprocess wants."""
    return {
        "args": [sys.executable, "-m", "beast", "stress", *arguments],
        "env": {"PATH": "/usr/bin:/bin", "BEAST_HOME": str(home)},
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


def stress(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**command(home, *arguments), timeout=60, check=False)


def at(engine: Engine, key: str = KEY) -> tuple[str, ...]:
    return ("--target", f"udp://127.0.0.1:{engine.udp_port}", "--key", key, "--asset", "btc")


def test_levels_end_in_a_table_and_a_verdict(engine: Engine, tmp_path: Path) -> None:
    done = stress(tmp_path, *at(engine), "--levels", "30,1300", "--seconds", "0.2")
    assert done.returncode == 0, done.stderr
    assert "1,300" in done.stdout
    assert done.stdout.endswith("verdict: pass\n")


def test_json_is_one_line(engine: Engine, tmp_path: Path) -> None:
    done = stress(tmp_path, *at(engine), "--rate", "1000", "--sustain", "0.5s", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert (result["verdict"], result["protocol"], result["reasons"]) == ("pass", "udp", [])
    (level,) = result["levels"]
    assert (level["rate"], level["sent"], level["answered"], level["lost"]) == (1000, 500, 500, 0)


def test_http(engine: Engine, tmp_path: Path) -> None:
    target = ("--target", f"http://127.0.0.1:{engine.http_port}", "--key", KEY, "--asset", "BTC")
    done = stress(tmp_path, *target, "--http", "--levels", "64", "--pipeline", "16", "--seconds", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["levels"][0]["sockets"] == 4


def test_a_threshold_that_is_not_kept_fails(engine: Engine, tmp_path: Path) -> None:
    done = stress(tmp_path, *at(engine), "--seconds", "0.2", "--max-p99-us", "0.001")
    assert done.returncode == 1
    assert "300: p99 is" in done.stdout
    assert "verdict: fail" in done.stdout
    done = stress(tmp_path, *at(engine, "tb_slow"), "--levels", "1", "--seconds", "0.2")
    assert done.returncode == 1
    assert "rate_limited" in done.stdout


def test_ctrl_c_ends_with_the_figures_so_far(engine: Engine, tmp_path: Path) -> None:
    answered = engine.counters()["udp_answered"]
    with subprocess.Popen(**command(tmp_path, *at(engine), "--sustain", "30m", "--json")) as running:
        until = time.monotonic() + 30
        while engine.counters()["udp_answered"] < answered + 1000 and time.monotonic() < until:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    result = json.loads(out)
    assert result["interrupted"]
    assert result["levels"][0]["answered"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--target", "192.0.2.1:9", "--key", "x", "--asset", "BTC"), 2, "--i-own-this-host"),
        (("--target", "127.0.0.1:9", "--key", "x", "--asset", "BTC", "--levels", "x"), 2, "--levels"),
        (("--target", "127.0.0.1:9", "--key", "x", "--asset", "BTC", "--levels", "5", "--rate", "5"), 2, "exclude"),
        (("--target", "127.0.0.1:9", "--key", "x", "--asset", "BTC", "--sustain", "soon"), 2, "--sustain"),
        (("--target", "127.0.0.1:9", "--key", "x y", "--asset", "BTC"), 2, "is no key"),
        (("--target", "127.0.0.1:9", "--asset", "BTC"), 2, "no API key"),
        (("--target", "127.0.0.1:9", "--key", "x", "--asset", "BTC", "--timeout-ms", "100"), 1, "no answer"),
        (("--target", "127.0.0.1:9", "--key", "x", "--asset", "BTC", "--http"), 1, "Connection refused"),
        (("--keys-file", "/nowhere", "--target", "127.0.0.1:9"), 2, "/nowhere"),
        ((), 1, "no server runs on this home"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, arguments: tuple[str, ...], code: int, told: str) -> None:
    done = stress(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
