"""A PostgreSQL of a bench's own, and the processor time that it takes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beast.storage.embedded import EmbeddedPostgres
from beast.storage.migrate import migrate


@contextmanager
def running() -> Iterator[EmbeddedPostgres]:
    """One with all migrations, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="beast-bench-") as name:
        Path(name).chmod(0o711)
        server = EmbeddedPostgres(Path(name) / "home")
        server.start()
        try:
            migrate(server.url())
            yield server
        finally:
            server.stop()


def session_s(pid: int) -> float:
    """Processor time of one process, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def server_s(postmaster: int) -> float:
    """Processor time of a server and all its processes, those that ended included (these to 10 ms)."""
    ended = sum(map(int, _fields(postmaster)[13:15])) / os.sysconf("SC_CLK_TCK")
    total = session_s(postmaster) + ended
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid = int(stat.parent.name)
            if int(_fields(pid)[1]) == postmaster:
                total += session_s(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, from the state on: the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
