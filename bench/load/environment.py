"""Virtual environments for the peers that a bench is compared with, made on demand beside the project's own."""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_with(name: str, *packages: str) -> Path | None:
    """The interpreter of `.venv-NAME`, which holds the packages; None when they can't be installed."""
    room = ROOT / f".venv-{name}"
    python, done = room / "bin" / "python", room / "installed"
    if done.exists() and done.read_text() == "\n".join(packages):
        return python
    try:
        venv.create(room, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(install, check=True, capture_output=True, text=True, timeout=600)
    except (subprocess.SubprocessError, OSError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        print(f"{name}: {reason.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    done.write_text("\n".join(packages))
    return python
