"""beast usage: how much was answered, whether all of it is booked, and what could not be."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from beast.accounts.audit import Trail, command_line
from beast.base.clock import SystemClock
from beast.base.config import Config
from beast.base.config_sources import load_config
from beast.base.errors import EXIT_FAILED, BeastError, UsageError
from beast.base.log import configure_logging
from beast.engine.presence import find_presence
from beast.storage.database import Database
from beast.storage.opening import open_database
from beast.usage.admin import Summary, UsageAdmin
from beast.usage.queues import queue_of
from beast.usage.store import DeadLetter
from beast.usage.types import Fate, Outcome
from beast.usage.verify import Verification, tell_what_is_left

app = App(
    name="usage",
    help="Show what was answered, and verify that all of it is booked, once.",
    help_epilogue="""Examples:
  beast usage show --days 30
  beast usage verify
  beast usage verify --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z --json
  beast usage dead-letters
  beast usage dead-letters 17 > letter.json
  beast usage dead-letters 17 --retry
  beast usage dead-letters 17 --delete""",
)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]
Flag = Annotated[bool, Parameter(negative=())]
_Result = TypeVar("_Result")


@app.command
def verify(
    *,
    since: Annotated[datetime | None, Parameter(name="--from")] = None,
    until: Annotated[datetime | None, Parameter(name="--to")] = None,
    as_json: AsJson = False,
) -> int:
    """Compare what servers have made with batches, rows and counters; exit code 1 when anything differs.

    It may run while servers do. When none runs on this home, what is in its rings and its spool is counted in.

    Args:
        since: Compare hours from this one on, UTC; else from the beginning of the month.
        until: Compare hours before this one, UTC; else up to now.
        as_json: Print one JSON object.
    """
    found = _with_usage(lambda usage: usage.verify(_utc(since), _utc(until)))
    if as_json:
        _print_lines([found])
    else:
        _show_verification(found)
    return 0 if found.ok else EXIT_FAILED


@app.command
def show(*, days: Annotated[int, Parameter(name="--days")] = 7, as_json: AsJson = False) -> None:
    """Show answers by day.

    Args:
        days: So many, up to today, UTC.
        as_json: Print one JSON object.
    """
    summary = _with_usage(lambda usage: usage.summary(days=max(1, min(days, 400))))
    if as_json:
        _print_lines([summary])
    else:
        _show_summary(summary)


@app.command(name="dead-letters")
def dead_letters(
    number: int | None = None, /, *, retry: Flag = False, delete: Flag = False, as_json: AsJson = False
) -> None:
    """List what could not be booked, or print one as it came.

    Args:
        number: Print this one's bytes.
        retry: Book it instead, now that what was wrong is mended; exit code 1 while it can't be.
        delete: Delete it instead, for good.
        as_json: Print one JSON object a line.
    """
    if number is None:
        if retry or delete:
            raise UsageError("which one?", where="--retry, --delete", todo="give its number")
        letters = _with_usage(lambda usage: usage.dead_letters())
        if as_json:
            _print_lines(letters)
        else:
            _show_letters(letters)
    elif retry and delete:
        raise UsageError("exclude each other", where="--retry and --delete", todo="give one")
    elif retry:
        fate = _there(number, _with_database(lambda database: _retry(database, number))).fate
        sys.stdout.write(f"dead letter {number} is {fate}\n")
    elif delete:
        _there(number, _with_database(lambda database: _delete(database, number)))
        sys.stdout.write(f"dead letter {number} is deleted\n")
    else:
        sys.stdout.buffer.write(_there(number, _with_usage(lambda usage: usage.dead_letter(number))))


def _there(number: int, found: _Result | None) -> _Result:
    if found is None:
        raise BeastError(f"there is no dead letter {number}", todo="beast usage dead-letters shows those there are")
    return found


def _with_usage(work: Callable[[UsageAdmin], Awaitable[_Result]]) -> _Result:
    config = load_config().config
    return _with_database(lambda database: work(UsageAdmin(database, SystemClock(), queue_of(config))), config)


def _with_database(work: Callable[[Database], Awaitable[_Result]], config: Config | None = None) -> _Result:
    config = config or load_config().config
    configure_logging("warning", config.log_format)

    async def run() -> _Result:
        async with open_database(config, application_name="beast-usage", max_size=2) as database:
            await _tell_what_is_left(config, database)
            return await work(database)

    return asyncio.run(run())


async def _retry(database: Database, number: int) -> Outcome | None:
    outcome = await UsageAdmin(database, SystemClock()).retry_dead_letter(number)
    if outcome is not None:
        trail = Trail(database, SystemClock())
        about = {"id": number, "fate": outcome.fate, "reason": outcome.reason}
        trail.put(command_line(), "usage.dead-letter.retry", about)
        await trail.flush()
        if outcome.fate == Fate.DEAD:
            raise BeastError(f"dead letter {number} still can't be booked: {outcome.reason}")
    return outcome


async def _delete(database: Database, number: int) -> DeadLetter | None:
    letter = await UsageAdmin(database, SystemClock()).delete_dead_letter(number)
    if letter is not None:
        trail = Trail(database, SystemClock())
        trail.put(command_line(), "usage.dead-letter.delete", {"id": number, "reason": letter.reason})
        await trail.flush()
    return letter


async def _tell_what_is_left(config: Config, database: Database) -> None:
    """A running server tells the database itself."""
    if find_presence(config.home) is None and (config.home / "usage").is_dir():
        try:
            await tell_what_is_left(database, config.home, config.node, SystemClock())
        except OSError as error:
            raise BeastError(f"can't be read: {error}", where=str(config.home / "usage")) from error


def _utc(given: datetime | None) -> datetime | None:
    return given.replace(tzinfo=UTC) if given is not None and given.tzinfo is None else given


def _show_verification(found: Verification) -> None:
    write = sys.stdout.write
    write(f"hours from {found.since:%Y-%m-%d %H:%M}Z to {found.until:%Y-%m-%d %H:%M}Z\n")
    for name in ("made", "booked", "waiting", "lost", "missing"):
        write(f"{name:>8} {getattr(found, name):>18,}\n")
    if found.queue is not None:
        write(f"{found.queue.queue}: {found.queue.told}\n")
    for difference in found.differences:
        write(f"{difference}\n")
    write("every answer is accounted for\n" if found.ok else f"{len(found.differences)} differences\n")


def _show_summary(summary: Summary) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("day", "answers", "keys"):
        table.add_column(title, justify="left" if title == "day" else "right")
    for day in summary.days:
        table.add_row(f"{day.day:%Y-%m-%d}", f"{day.answers:,}", f"{day.keys:,}")
    Console(highlight=False, markup=False).print(table)
    if summary.dead_letters:
        sys.stdout.write(f"{summary.dead_letters} dead letters: beast usage dead-letters shows them\n")


def _show_letters(letters: list[DeadLetter]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("id", "at", "type", "bytes", "reason"):
        table.add_column(title)
    for each in letters:
        table.add_row(str(each.id), f"{each.at:%Y-%m-%d %H:%M:%S}", each.type, f"{each.bytes:,}", each.reason)
    Console(highlight=False, markup=False).print(table)


def _print_lines(values: list[_Result]) -> None:
    for value in values:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
