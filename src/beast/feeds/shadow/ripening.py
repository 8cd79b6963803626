"""When a draft may go live, and when a version must not stay: pure functions of verdicts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from beast.feeds.shadow.minute import unread_words
from beast.feeds.shadow.types import Verdict

HOLE_MINUTES: Final = 3
"""Minutes that nobody watched, as long as a server takes to start again, break no row of minutes; more do."""
FAILED_LEAST: Final = 10
"""So much that can't be read must have come before a version that is live is called unfit."""
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
        proven |= {each.asset for each in verdict.assets if each.standing == "agrees"}
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
    if not progress.proven:
        return Outlook(ripe=True, waits_for="a person: no other exchange prices its assets")
    unproven = [
        each.asset for each in verdict.assets if each.standing == "unproven" and each.asset not in progress.proven
    ]
    if unproven:
        return Outlook(ripe=True, waits_for=f"a trade of {_listed(unproven)}, or a person")
    return Outlook(ripe=True, waits_for="")


def failure(verdict: Verdict) -> str:
    """Why a version that is live does not fit what comes, in this minute; empty: it does, or nobody can say.

    An exchange that says nothing is the watchdog's business: other rows would not make it speak.
    """
    tally = verdict.tally
    if tally.unread >= FAILED_LEAST and tally.unread > FAILED_SHARE * (tally.unread + tally.trades):
        return unread_words(tally)
    if 2 * verdict.beyond > verdict.compared:
        worst = verdict.assets[0]
        told = f"{worst.asset} {worst.off_bps} bps, {worst.price} against {worst.others} of {worst.sources}"
        return f"{verdict.beyond} of {verdict.compared} assets are off the others, the worst {told}"
    return ""


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
