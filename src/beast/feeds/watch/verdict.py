"""Whether a symbol that says nothing is quiet or dead: judged by its own rhythm, pure functions of facts.

A market may be quiet for hours, and a subscription may die without a word on a connection that lives. What tells them
apart is the symbol itself: the smoothed interval between its trades and their mean deviation, as RFC 6298 has them for
round trips, and its longest silence of late, since trades come in bursts. A symbol is called silent, and something is
done about it, only when it has said nothing for many times what it ever needed, while others on its connection trade.
"""

from enum import StrEnum
from typing import NamedTuple

from beast.feeds.link.subscription import SymbolState

WARM_UP = 20
"""Trades before a symbol has a rhythm."""
DEVIATIONS = 4
"""The factor of RFC 6298, section 2.3."""
QUIET_NS = 10 * 10**9
"""Nobody is quiet before this."""
SILENT_TIMES = 8
"""How many times its expected silence a symbol must say nothing to be called silent. Of a market whose trades come by
chance (Poisson) that is fewer than one pause in 10,000."""
SILENT_NS = 120 * 10**9
"""Nobody is silent before this."""
LIVELY_NS = 60 * 10**9
"""Another symbol that traded within this shows that trades do come over the connection."""
LIVELY = 2
"""How many of them it takes."""


class State(StrEnum):
    """How a symbol, or a connection, fares."""

    OK = "ok"
    QUIET = "quiet"
    """Longer without a trade than expected, over a connection that is proven alive."""
    SILENT = "silent"
    """So long that what was subscribed may be dead."""
    NEVER = "never"
    """No trade yet."""
    UNPROVEN = "unproven"
    """The connection is down, or has said nothing for longer than its patience."""
    REFUSED = "refused"
    UNSUBSCRIBED = "unsubscribed"
    """Nobody has asked for it; REST tells its price when somebody does."""


class Rhythm(NamedTuple):
    """How often trades come, in ns."""

    trades: int
    interval_ns: int
    deviation_ns: int
    longest_ns: int = 0
    """The longest silence of late that a trade ended."""

    def expected_ns(self) -> int | None:
        """How long a silence says nothing; None: not yet known."""
        if self.trades < WARM_UP:
            return None
        return max(self.interval_ns + DEVIATIONS * self.deviation_ns, self.longest_ns, QUIET_NS)

    def dead_ns(self) -> int | None:
        """After how long a silence the subscription may be dead; None: not yet known."""
        expected_ns = self.expected_ns()
        return None if expected_ns is None else max(SILENT_TIMES * expected_ns, SILENT_NS)


class Facts(NamedTuple):
    """What is known of one symbol. Durations are in ns."""

    up: bool
    """Its connection is open."""
    unheard_ns: int | None
    """Since the connection's last sign of life; None: there was none."""
    patience_ns: int
    standing: SymbolState | None
    rhythm: Rhythm
    silent_ns: int | None
    """Since its last trade; None: there was none."""
    listening_ns: int
    """Since the connection was opened: what could not come before that was no silence."""
    lively: int
    """How many other symbols of its connection have traded within LIVELY_NS."""


class Verdict(NamedTuple):
    """A state, and in one sentence why."""

    state: State
    why: str


def judge(facts: Facts) -> Verdict:
    """How a symbol fares."""
    if unproven := distrust(up=facts.up, unheard_ns=facts.unheard_ns, patience_ns=facts.patience_ns):
        return Verdict(State.UNPROVEN, unproven)
    if facts.standing is SymbolState.REFUSED:
        return Verdict(State.REFUSED, "the exchange refused the subscription")
    asked = {
        SymbolState.WAITING: "its subscription is not sent yet",
        SymbolState.SENT: "its subscription is not acknowledged",
        SymbolState.SILENT: "its subscription was never acknowledged",
    }.get(facts.standing or SymbolState.WAITING, "it is subscribed")
    if facts.silent_ns is None:
        return Verdict(State.NEVER, f"no trade yet; {asked}")
    return _judge_silence(facts, facts.silent_ns)


def _judge_silence(facts: Facts, silent_ns: int) -> Verdict:
    expected_ns, dead_ns = facts.rhythm.expected_ns(), facts.rhythm.dead_ns()
    last = f"last trade {_s(silent_ns)} ago"
    if expected_ns is None or dead_ns is None:
        return Verdict(State.OK, f"{last}; too few trades for a rhythm")
    told = f"{last}, expected within {_s(expected_ns)}"
    if silent_ns <= expected_ns:
        return Verdict(State.OK, told)
    if min(silent_ns, facts.listening_ns) <= dead_ns:
        return Verdict(State.QUIET, f"{told}; the connection is proven alive")
    if facts.lively < LIVELY:
        return Verdict(State.QUIET, f"{told}; the connection is proven alive, and nothing else trades on it either")
    return Verdict(State.SILENT, f"{told}; others on its connection trade: the subscription may be dead")


def judge_connection(
    *, up: bool, unheard_ns: int | None, patience_ns: int, symbols: list[tuple[Rhythm, int]]
) -> Verdict:
    """How a connection fares: alive, and bringing trades as often as all its symbols together do.

    Args:
        up: It is open.
        unheard_ns: Since its last sign of life; None: there was none.
        patience_ns: How long it may say nothing.
        symbols: Rhythm and silence of each that has traded, in ns.
    """
    if unproven := distrust(up=up, unheard_ns=unheard_ns, patience_ns=patience_ns):
        return Verdict(State.UNPROVEN, unproven)
    known = [(rhythm, silent_ns) for rhythm, silent_ns in symbols if rhythm.dead_ns() is not None]
    if not known:
        return Verdict(State.OK, "proven alive")
    silent_ns = min(silent for _, silent in known)
    # Whoever is due soonest says most about the whole.
    dead_ns = min(rhythm.dead_ns() or 0 for rhythm, _ in known)
    if silent_ns > dead_ns:
        return Verdict(State.SILENT, f"it answers pings, but brought no trade for {_s(silent_ns)}")
    return Verdict(State.OK, f"proven alive; last trade {_s(silent_ns)} ago")


def distrust(*, up: bool, unheard_ns: int | None, patience_ns: int) -> str:
    """Why a connection is not proven alive; empty: it is."""
    if not up:
        return "the connection is down"
    if unheard_ns is None or unheard_ns > patience_ns:
        heard = "nothing was ever heard" if unheard_ns is None else f"nothing was heard for {_s(unheard_ns)}"
        return f"the connection is open, but {heard} (patience {_s(patience_ns)})"
    return ""


def _s(ns: int) -> str:
    return f"{ns / 1e9:.1f} s" if ns < 100 * 10**9 else f"{ns / 1e9:.0f} s"
