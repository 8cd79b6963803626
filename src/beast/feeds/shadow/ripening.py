"""When a draft may go live, and when a version must not stay: pure functions of verdicts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from beast.feeds.shadow.minute import wrong_words
from beast.feeds.shadow.types import BY_REST, Verdict

HOLE_MINUTES: Final = 3
"""Minutes that nobody watched, as long as a server takes to start again, break no row of minutes; more do."""
FAILED_LEAST: Final = 10
"""So much that is wrong must have come before a version that is live is called unfit."""
FAILED_SHARE: Final = 0.5
_NAMED_MAX: Final = 5


class Progress(NamedTuple):
    """How far a draft has come."""

    agreed: int = 0
    """Minutes in a row."""
    proven: frozenset[str] = frozenset()
    """Assets compared in them."""
    judged_at: datetime | None = None


class Terms(NamedTuple):
    """What it takes."""

    minutes: int
    auto: bool


class Outlook(NamedTuple):
    """What a draft may do now."""

    ripe: bool
    """A person may take it live."""
    waits_for: str
    """What keeps it from going live by itself; empty: nothing."""


def ripen(progress: Progress, verdict: Verdict, minute: timedelta = timedelta(minutes=1)) -> Progress:
    """The progress after one more minute."""
    if progress.judged_at is not None and verdict.at - progress.judged_at > HOLE_MINUTES * minute:
        progress = Progress()
    agreed, proven = progress.agreed, progress.proven
    if verdict.kind in {"broken", "disagreeing"}:
        agreed, proven = 0, frozenset()
    elif verdict.kind == "agreeing":
        # Minutes without others to compare with prove nothing once there are some.
        agreed = agreed + 1 if proven else 1
        proven |= {each.name for each in verdict.assets if each.standing == "agrees"}
    elif verdict.kind == "alone" and not proven:
        agreed += 1
    return Progress(agreed, proven, verdict.at)


def outlook(progress: Progress, verdict: Verdict, terms: Terms) -> Outlook:
    """What follows from it."""
    left = terms.minutes - progress.agreed
    if verdict.kind in {"broken", "disagreeing"}:
        return Outlook(ripe=False, waits_for=verdict.why)
    if left > 0:
        what = "minutes of trades" if verdict.kind == "alone" else "agreeing minutes"
        return Outlook(ripe=False, waits_for=f"{left} more {what}")
    if not terms.auto:
        return Outlook(ripe=True, waits_for="a person")
    return Outlook(ripe=True, waits_for=_unproven(progress, verdict))


def failure(verdict: Verdict, usual: float) -> str:
    """Why a version that is live does not fit what comes, in this minute; empty: it does, or nobody can say.

    An exchange that says nothing is the watchdog's business: other rows would not make it speak.

    Args:
        verdict: The minute.
        usual: How many trades a minute has brought.
    """
    tally = verdict.tally
    if tally.wrong >= FAILED_LEAST and tally.wrong > FAILED_SHARE * (tally.wrong + tally.trades):
        return wrong_words(tally)
    # By chance, so many trades are none in one minute of 20,000.
    if not tally.trades and usual >= FAILED_LEAST and tally.ignored >= FAILED_LEAST:
        return wrong_words(tally)
    if 2 * verdict.beyond > verdict.compared:
        worst = verdict.assets[0]
        told = f"{worst.asset} {worst.off_bps} bps, {worst.price} against {worst.others} of {worst.sources}"
        return f"{verdict.beyond} of {verdict.compared} assets are off the others, the worst {told}"
    return ""


def _unproven(progress: Progress, verdict: Verdict) -> str:
    """What was not compared yet, and must be before a draft goes live by itself."""
    if not progress.proven:
        return "a person: no other exchange prices its assets"
    unproven = [each for each in verdict.assets if each.standing == "unproven" and each.name not in progress.proven]
    if trades := [each.asset for each in unproven if not each.by_rest]:
        return f"a trade of {_listed(trades)}, or a person"
    # One asset a minute is asked for: that any has answered is enough.
    if unproven and not any(name.endswith(BY_REST) for name in progress.proven):
        return "an answer by REST, or a person"
    return ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
