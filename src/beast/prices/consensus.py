"""What several exchanges agree on, written to be read: the twin of `_fast/c/consensus.c` and `price_consensus.c`.

The answer is the weighted lower median of all live votes, so it is always one source's own price. As long as the honest
sources have more than half of the weight, it lies between two honest prices, whatever the others say: no minority
moves it by more than the honest spread. A median needs no outliers taken out to be that robust; taking them out tells
the client which sources it rests on, and keeps them out of the quorum and of the spread.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

NAME = "consensus"
"""What a request calls it; no exchange may have this name."""
Standing = Literal["live", "quiet", "stale", "held", "outlier"]
"""Why a source has no vote; `live`: it has."""
OUTLIER_MADS = 3 * 1.4826
"""Median absolute deviations: three standard deviations of a normal distribution (Leys et al., "Detecting outliers",
J. Exp. Soc. Psychol. 49, 2013)."""
TAIL_MAX = 880
"""BEAST_TAIL_MAX in _fast/c/sizes.h: bytes of the members that name the sources."""
_NAME_MAX = len('"",') + 16
_EXCLUSION_MAX = len('{"exchange":,"reason":"outlier"}') + _NAME_MAX
_BEHIND_EXCLUDED = len('],"sources_excluded_more":64,"spread_bps":999999999.9')
_BEHIND_USED = len('],"sources_used_more":64,"sources_excluded":[') + _BEHIND_EXCLUDED
_SPREAD_TENTHS_MAX = 9_999_999_999


class Vote(NamedTuple):
    """One source's price as a number, its weight above 0, and how it stands."""

    price: float
    weight: int
    standing: Standing


class Found(NamedTuple):
    """What votes come to."""

    chosen: int | None
    """Which vote's price is the answer; None: nobody has a vote."""
    standings: list[Standing]
    spread_bps: float
    """Between the highest and the lowest price of those used."""


def find_consensus(votes: Sequence[Vote], *, outlier_bps: int) -> Found:
    """The weighted median of the live votes, and who is too far off it.

    Args:
        votes: All sources.
        outlier_bps: Who is nearer than this is no outlier, however close the others stand together.
    """
    standings: list[Standing] = [
        "outlier" if vote.standing == "live" and not vote.price > 0 else vote.standing for vote in votes
    ]
    live = sorted((i for i, standing in enumerate(standings) if standing == "live"), key=lambda i: votes[i].price)
    if not live:
        return Found(None, standings, 0.0)
    total = sum(votes[i].weight for i in live)
    chosen = _median(votes, live)
    answer = votes[chosen].price

    def distance(i: int) -> float:
        return abs(votes[i].price - answer)

    used = sorted(live, key=distance)
    while len(used) > 1:
        limit = max(OUTLIER_MADS * distance(_median(votes, used)), outlier_bps / 1e4 * answer)
        rest = sum(votes[i].weight for i in used[:-1])
        if distance(used[-1]) <= limit or 2 * rest <= total:
            break
        standings[used.pop()] = "outlier"
    prices = [votes[i].price for i in used]
    return Found(chosen, standings, (max(prices) - min(prices)) / answer * 1e4)


def refusal(*, quorum: int, used: int) -> str:
    """The message of `unavailable` when fewer sources agree than must."""
    return f"the consensus needs {quorum} live sources that agree and has {used}"


def tail(sources: Sequence[tuple[str, Standing]], spread_bps: float) -> str:
    """The members of an answer that name its sources: those by (exchange, standing) in order of priority."""
    used = [f'"{name}"' for name, standing in sources if standing == "live"]
    excluded = [f'{{"exchange":"{name}","reason":"{standing}"}}' for name, standing in sources if standing != "live"]
    text = _put(',"sources_used":[', used, "used", TAIL_MAX - _NAME_MAX - _BEHIND_USED)
    text = _put(f'{text},"sources_excluded":[', excluded, "excluded", TAIL_MAX - _EXCLUSION_MAX - _BEHIND_EXCLUDED)
    tenths = int(min(spread_bps * 10, _SPREAD_TENTHS_MAX - 1) + 0.5)
    return f'{text},"spread_bps":{tenths // 10}.{tenths % 10}'


def _median(votes: Sequence[Vote], ordered: Sequence[int]) -> int:
    """The first at which half of the weight is reached."""
    total, reached = sum(votes[i].weight for i in ordered), 0
    for i in ordered:
        reached += votes[i].weight
        if 2 * reached >= total:
            return i
    raise AssertionError("all of the weight is more than half of it")


def _put(text: str, items: Sequence[str], kind: str, room: int) -> str:
    """Adds items while they find room, and says how many did not."""
    listed = 0
    while listed < len(items) and len(text) <= room:
        text += ("," if listed else "") + items[listed]
        listed += 1
    more = len(items) - listed
    return f"{text}]" + (f',"sources_{kind}_more":{more}' if more else "")
