"""beast replay: the prices and states of a recording, as they were."""

import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from beast.base.errors import UsageError
from beast.feeds.recording.file import find_parts
from beast.feeds.recording.replay import Change, Digest, Replay, Told
from beast.feeds.rows.check import format_ns

app = App(
    name="replay",
    help_epilogue="""Examples:
  beast replay recordings/20261122T120000.000000Z-000000.beast.zst
  beast replay recordings --digest
  beast replay recordings --changes --json --at 2026-11-22T12:30:00Z
  beast replay recordings --changes --speed 10""",
)


@app.default
def replay(
    file: Path,
    /,
    *more: Path,
    changes: Annotated[bool, Parameter(negative=())] = False,
    digest: Annotated[bool, Parameter(negative=())] = False,
    at: str | None = None,
    every: Annotated[int, Parameter(validator=Number(gte=10, lte=3_600_000))] = 1000,
    speed: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Play a recording; print what every market had at the end.

    No clock is read and no exchange asked: the same files give the same output, byte for byte, on any machine.

    Args:
        file: A file of the recording, or the folder of all of them.
        more: Further files of it.
        changes: Print every change of a price or state, as it comes.
        digest: Print the SHA-256 of all changes instead of markets.
        at: Stop at this time, such as 2026-11-22T12:30:00.5Z.
        every: Milliseconds of recorded time between two looks at all states.
        speed: 1 is as fast as it was recorded, 10 ten times faster; 0 is as fast as possible. Implies --changes.
        as_json: Print one JSON object a line.
    """
    told_as_it_comes = changes or speed > 0
    watch = told_as_it_comes or digest
    until_ns = None if at is None else _parse_time(at)
    play = Replay(find_parts([file, *more]), every_ms=every if watch else 0, watch=watch, until_ns=until_ns)
    total = Digest()
    began_s = time.monotonic()
    for change in play.play():
        if speed:
            due_s = (change.at_ns - play.told.first_ns) / 1e9 / speed
            time.sleep(max(began_s + due_s - time.monotonic(), 0))
        if digest:
            total.add(change)
        if told_as_it_comes:
            _print([_changed(change)], as_json=as_json)
    if digest:
        summary = {"digest": str(total), **_summary(play.told)}
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n" if as_json else f"{total}\n")
    elif not told_as_it_comes:
        _print((_market(market) for market in play.markets()), as_json=as_json)
    _remark(play.told)
    return 0


def _parse_time(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", where="--at", todo="such as 2026-11-22T12:30:00Z") from None
    if moment.tzinfo is None:
        raise UsageError(f"{text!r} names no time zone", where="--at", todo="end it with Z for UTC")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _market(market: Change) -> dict[str, Any]:
    return {
        "exchange": market.exchange,
        "asset": market.asset,
        "price": market.price,
        "currency": market.currency,
        "timestamp": None if market.time_ns is None else format_ns(market.time_ns),
        "state": market.state,
    }


def _changed(change: Change) -> dict[str, Any]:
    return {"at": format_ns(change.at_ns), **_market(change)}


def _summary(told: Told) -> dict[str, Any]:
    return {
        "frames": told.frames,
        "missing": told.missing,
        "from": format_ns(told.first_ns),
        "to": format_ns(told.last_ns),
        "ended": told.ended,
        "damage": told.damage,
    }


def _print(lines: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    for line in lines:
        text = msgspec.json.encode(line).decode() if as_json else " ".join(str(each or "-") for each in line.values())
        sys.stdout.write(text + "\n")


def _remark(told: Told) -> None:
    """What a reader of the prices should know about the recording."""
    if told.missing:
        sys.stderr.write(f"beast: {told.missing} frames came faster than they could be written, and are missing\n")
    if told.damage:
        sys.stderr.write(f"beast: not all could be read: {told.damage}\n")
