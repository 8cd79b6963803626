"""What the commands about accounts have in common: the database, and how rows are shown."""

import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from beast.base.config_sources import load_config
from beast.base.errors import UsageError
from beast.base.log import configure_logging
from beast.storage.database import Database
from beast.storage.opening import open_database

PAGE = 1000

AsJson = Annotated[bool, Parameter(name="--json", negative=())]
Which = Annotated[str, Parameter(name="KEY", allow_leading_hyphen=False)]


@asynccontextmanager
async def account_database(file: Path | None) -> AsyncIterator[Database]:
    """The configured database.

    Args:
        file: TOML file; else BEAST_CONFIG.

    Raises:
        BeastError: It can't be reached.
    """
    config = load_config(file=file).config
    configure_logging("warning", config.log_format)
    async with open_database(config, application_name="beast-accounts", max_size=2) as database:
        yield database


def print_row(value: msgspec.Struct) -> None:
    """One JSON object, on a line of its own."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns for people; None is a dash."""
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*("-" if value is None else _text(value) for value in row))
    Console(highlight=False, markup=False).print(table)


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
    return str(value)


def several(values: Sequence[str]) -> list[str]:
    """An option's values, which may be joined by commas."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def number_or_none(name: str, text: str | None) -> int | msgspec.UnsetType | None:
    """A limit as it is given to a command: a number, or the word none; left out: unset.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return msgspec.UNSET
    plain = text.replace("_", "").replace(",", "")
    if plain == "none":
        return None
    if not (plain.isascii() and plain.isdigit()) or len(plain) > 18:  # noqa: PLR2004 - what fits into 64 bits
        raise UsageError(f"{text!r} is no number", where=name, todo="give a number, or none")
    return int(plain)
