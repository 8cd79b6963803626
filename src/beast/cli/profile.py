"""beast profile: the named sets of application parameters."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from beast.accounts.audit import Trail, command_line
from beast.base.clock import SystemClock
from beast.base.config_sources import load_config
from beast.base.log import configure_logging
from beast.cluster.modes import Profiles
from beast.cluster.types import Change
from beast.storage.database import Database
from beast.storage.opening import open_database

app = App(
    name="profile",
    help="Show and apply the named sets of application parameters.",
    help_epilogue="""Examples:
  beast profile show
  beast profile show stress
  beast profile apply fresh-price""",
)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def show(name: str | None = None, /, *, as_json: AsJson = False, config: Path | None = None) -> None:
    """List the profiles, or show what applying one would change.

    Args:
        name: The profile.
        as_json: Print one JSON object a line.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        async with _profiles(config) as profiles:
            if name is not None:
                _print_changes(await profiles.diff(name), as_json=as_json)
                return
            for known in await profiles.names():
                sys.stdout.write((msgspec.json.encode({"profile": known}).decode() if as_json else known) + "\n")

    asyncio.run(work())


@app.command
def apply(name: str, /, *, as_json: AsJson = False, config: Path | None = None) -> None:
    """Put a profile into force on all nodes, all of it at once.

    Args:
        name: The profile.
        as_json: Print one JSON object a changed parameter.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        async with _database(config) as database:
            profiles = Profiles(database, SystemClock())
            await profiles.seed()
            changes = await profiles.apply(name)
            trail = Trail(database, SystemClock())
            trail.put(command_line(), "profile.apply", {"profile": name, **{each.name: each.new for each in changes}})
            await trail.flush()
        _print_changes(changes, as_json=as_json)

    asyncio.run(work())


@asynccontextmanager
async def _profiles(file: Path | None) -> AsyncIterator[Profiles]:
    async with _database(file) as database:
        profiles = Profiles(database, SystemClock())
        await profiles.seed()
        yield profiles


@asynccontextmanager
async def _database(file: Path | None) -> AsyncIterator[Database]:
    config = load_config(file=file).config
    configure_logging("warning", config.log_format)
    async with open_database(config, application_name="beast-profile", max_size=2) as database:
        yield database


def _print_changes(changes: list[Change], *, as_json: bool) -> None:
    for change in changes:
        line = f"{change.name}: {_shown(change.old)} -> {_shown(change.new)}"
        sys.stdout.write((msgspec.json.encode(change).decode() if as_json else line) + "\n")
    if not changes and not as_json:
        sys.stdout.write("nothing differs\n")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
