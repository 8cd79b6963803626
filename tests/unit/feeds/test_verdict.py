"""Quiet or dead: the judgement, and how often it errs on markets that are well."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.feeds.link.subscription import SymbolState
from beast.feeds.watch.verdict import (
    QUIET_NS,
    SILENT_NS,
    SILENT_TIMES,
    WARM_UP,
    Facts,
    Rhythm,
    State,
    judge,
    judge_connection,
)

S = 10**9
STEADY = Rhythm(trades=100, interval_ns=20 * S, deviation_ns=5 * S)
"""Expected within 40 s, dead after 320 s."""


def facts(
    silent_s: float | None = 1,
    *,
    rhythm: Rhythm = STEADY,
    up: bool = True,
    unheard_s: float | None = 1,
    standing: SymbolState | None = SymbolState.ACKED,
    listening_s: float = 10**9,
    lively: int = 5,
) -> Facts:
    return Facts(
        up=up,
        unheard_ns=None if unheard_s is None else int(unheard_s * S),
        patience_ns=30 * S,
        standing=standing,
        rhythm=rhythm,
        silent_ns=None if silent_s is None else int(silent_s * S),
        listening_ns=int(listening_s * S),
        lively=lively,
    )


@pytest.mark.parametrize(
    ("given_facts", "state", "told"),
    [
        (facts(), State.OK, "expected within 40.0 s"),
        (facts(39), State.OK, "expected"),
        (facts(41), State.QUIET, "proven alive"),
        (facts(319), State.QUIET, "proven alive"),
        (facts(321), State.SILENT, "may be dead"),
        (facts(321, listening_s=319), State.QUIET, "proven alive"),
        (facts(321, lively=1), State.QUIET, "nothing else trades"),
        (facts(321, unheard_s=31), State.UNPROVEN, "nothing was heard for 31.0 s"),
        (facts(up=False), State.UNPROVEN, "down"),
        (facts(unheard_s=None), State.UNPROVEN, "ever heard"),
        (facts(standing=SymbolState.REFUSED), State.REFUSED, "refused"),
        (facts(None), State.NEVER, "it is subscribed"),
        (facts(None, standing=SymbolState.SENT), State.NEVER, "not acknowledged"),
        (facts(None, standing=SymbolState.SILENT), State.NEVER, "never acknowledged"),
        (facts(99_999, rhythm=Rhythm(WARM_UP - 1, S, S)), State.OK, "too few trades"),
        (facts(321, rhythm=STEADY._replace(longest_ns=100 * S)), State.QUIET, "expected within 100 s"),
    ],
)
def test_each_state_has_its_reason(given_facts: Facts, state: State, told: str) -> None:
    verdict = judge(given_facts)
    assert verdict.state is state
    assert told in verdict.why


@given(
    trades=st.integers(0, 10**6),
    interval=st.integers(0, 10**13),
    deviation=st.integers(0, 10**13),
    longest=st.integers(0, 10**14),
    silent=st.integers(0, 10**15),
)
def test_nobody_is_silent_early(trades: int, interval: int, deviation: int, longest: int, silent: int) -> None:
    rhythm = Rhythm(trades, interval, deviation, longest)
    verdict = judge(facts(silent / S, rhythm=rhythm))
    if verdict.state is State.SILENT:
        assert trades >= WARM_UP
        assert silent > max(SILENT_NS, SILENT_TIMES * QUIET_NS, SILENT_TIMES * interval, SILENT_TIMES * longest)
    worse = judge(facts(2 * silent / S, rhythm=rhythm))
    assert verdict.state is not State.SILENT or worse.state is State.SILENT


class Learner:
    """RFC 6298's estimators, as the hot path has them."""

    def __init__(self) -> None:
        self.trades, self.interval_ns, self.deviation_ns = 1, 0, 0

    def take(self, interval_ns: int) -> None:
        self.trades += 1
        if self.trades == 2:
            self.interval_ns, self.deviation_ns = interval_ns, interval_ns // 2
            return
        off = interval_ns - self.interval_ns
        self.deviation_ns += (abs(off) - self.deviation_ns) // 4
        self.interval_ns += off // 8

    def rhythm(self) -> Rhythm:
        return Rhythm(self.trades, self.interval_ns, self.deviation_ns)


@pytest.mark.parametrize("mean_s", [2, 30, 600, 7200])
def test_a_market_that_trades_by_chance_is_cut_less_than_once_in_ten_thousand_pauses(mean_s: int) -> None:
    rng, learner, cut, quiet, pauses = Random(mean_s), Learner(), 0, 0, 60_000
    for _ in range(pauses):
        interval_ns = int(rng.expovariate(1 / mean_s) * S)
        dead_ns, expected_ns = learner.rhythm().dead_ns(), learner.rhythm().expected_ns()
        cut += dead_ns is not None and interval_ns > dead_ns
        quiet += expected_ns is not None and interval_ns > expected_ns
        learner.take(interval_ns)
    assert cut * 10_000 < pauses, cut
    assert quiet * 15 < pauses, quiet


def test_a_dead_subscription_is_found() -> None:
    rng, learner = Random(1), Learner()
    for _ in range(1000):
        learner.take(int(rng.expovariate(1 / 5) * S))
    dead_ns = learner.rhythm().dead_ns()
    assert dead_ns is not None
    assert SILENT_NS <= dead_ns < 15 * 60 * S


@pytest.mark.parametrize(
    ("symbols", "up", "state"),
    [
        ([], True, State.OK),
        ([(STEADY, 10 * S), (STEADY, 9000 * S)], True, State.OK),
        ([(STEADY, 321 * S), (STEADY, 9000 * S)], True, State.SILENT),
        ([(STEADY._replace(trades=3), 9000 * S)], True, State.OK),
        ([(STEADY, S)], False, State.UNPROVEN),
    ],
)
def test_a_connection_that_only_answers_pings_is_silent(
    symbols: list[tuple[Rhythm, int]], *, up: bool, state: State
) -> None:
    assert judge_connection(up=up, unheard_ns=S, patience_ns=30 * S, symbols=symbols).state is state
