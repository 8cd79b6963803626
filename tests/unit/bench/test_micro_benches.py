"""The benches of single steps run: nobody else looks at them between two releases."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_each_runs_once() -> None:
    command = [sys.executable, "-m", "pytest", "bench/micro", "--benchmark-disable", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
