"""Fixtures that every test may ask for. What they make is in tests/fixtures."""

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

# xdist comes without type information.
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

pytest_plugins = ["tests.fixtures.postgres"]

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that all databases, homes and spools of a run find room in."""

TOGETHER = ("tests/acceptance/", "tests/chaos/")
"""A file of these folders is one worker's: its tests share a server, or look at what the others have come to."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out whole files of some folders, and everything else test by test."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.split("::", 1)[0] if nodeid.startswith(TOGETHER) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile | None:
    """For `--dist loadscope`."""
    return ByFile(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_configure() -> None:
    """Temporary files lie in memory where it has room for them: waiting for a disk would be most of the time."""
    if "TMPDIR" not in os.environ and has_room(MEMORY):
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # whoever asked before was told another place


def has_room(folder: Path) -> bool:
    """Whether files may be made there, and programs among them be run."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize >= ROOM and not there.f_flag & os.ST_NOEXEC


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets logging up for itself; the next test begins anew."""
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)
