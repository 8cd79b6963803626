"""One minute of an exchange beside the others: prices compared as they come, frames counted, one verdict at its end.

Pure: who reads clocks, prices and connections is the observer.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from beast.feeds.link.tally import Tally
from beast.feeds.shadow.types import AssetEvidence, Kind, Standing, Verdict

NINE_OF_TEN: Final = 0.9
WRONG_LEAST: Final = 5
"""Less that is wrong says nothing."""
WRONG_SHARE: Final = 0.1
"""More of what came than this must not be wrong."""
AHEAD_NS: Final = 60 * 10**9
"""A trade that is dated later than this after its receipt has another unit, or another meaning."""
_NAMED_MAX: Final = 3


class Others(NamedTuple):
    """What the other exchanges agree on for one asset."""

    price: float
    sources: int


class Facts(NamedTuple):
    """What is known at a minute's end beside the comparisons."""

    at: datetime
    trouble: str
    """Why the exchange is not connected, or can't run; empty: it is."""
    refused: Sequence[str]
    """Symbols that the exchange would not have."""
    tally: Tally
    """Of this minute."""
    wanted: Mapping[str, str]
    """The currency of every asset that is subscribed."""
    priced: Mapping[str, Others]
    """Those that others price in that currency."""


class _Compared:
    """The comparisons of one asset."""

    def __init__(self) -> None:
        self.offs: list[float] = []
        self.price = ""
        self.others = Others(0.0, 0)

    def add(self, price: str, others: Others) -> None:
        """One more."""
        self.price, self.others = price, others
        self.offs.append(abs(float(price) / others.price - 1) * 1e4)

    def off_bps(self) -> float | None:
        """Nine of ten are at least so close."""
        ordered = sorted(self.offs)
        return ordered[math.ceil(NINE_OF_TEN * len(ordered)) - 1] if ordered else None


class Minute:
    """Takes comparisons, gives the verdict."""

    def __init__(self) -> None:
        self._compared: dict[str, _Compared] = {}
        self._by_rest: tuple[str, _Compared] | None = None
        self._outdated = 0
        self._ahead_ns = 0

    def compare(self, asset: str, price: str, others: Others) -> None:
        """A trade that came just now, beside what the others say at this moment."""
        self._compared.setdefault(asset, _Compared()).add(price, others)

    def ask(self, asset: str) -> None:
        """The exchange is asked for this asset by REST."""
        self._by_rest = asset, _Compared()

    @property
    def has_asked(self) -> bool:
        """Whether it was."""
        return self._by_rest is not None

    def answer(self, price: str, others: Others) -> None:
        """What it says, beside what the others say at this moment."""
        assert self._by_rest is not None, "only who was asked answers"
        self._by_rest[1].add(price, others)

    def note_time(self, lag_ns: int, *, fresh: bool) -> None:
        """A trade's time: how far behind its receipt it is, and whether it can be compared."""
        self._outdated += not fresh
        self._ahead_ns = max(self._ahead_ns, -lag_ns)

    def verdict(self, facts: Facts, bps: float) -> Verdict:
        """What the minute says of the exchange, `bps` being how far it may be off, in 1/10,000."""
        found = [_evidence(name, self._compared.get(name), facts, bps) for name in facts.wanted]
        if self._by_rest is not None and self._by_rest[0] in facts.wanted:
            asked = _evidence(*self._by_rest, facts, bps)
            found.append(msgspec.structs.replace(asked, by_rest=True))
        assets = sorted(found, key=lambda each: -(each.off_bps or 0.0))
        compared = [each for each in assets if each.off_bps is not None]
        beyond = [each for each in compared if each.standing == "disagrees"]
        kind, why = self._judge(facts, compared, beyond)
        return Verdict(
            at=facts.at,
            kind=kind,
            why=why,
            tally=facts.tally,
            compared=len(compared),
            beyond=len(beyond),
            worst_bps=compared[0].off_bps if compared else None,
            assets=tuple(assets),
        )

    def _judge(
        self, facts: Facts, compared: Sequence[AssetEvidence], beyond: Sequence[AssetEvidence]
    ) -> tuple[Kind, str]:
        if trouble := facts.trouble or self._unreadable(facts):
            return "broken", trouble
        if beyond:
            return "disagreeing", f"{_listed([_told(each) for each in beyond])} off the others"
        if compared:
            return "agreeing", f"{len(compared)} assets compared, the worst {compared[0].off_bps:.1f} bps off"
        if facts.tally.trades and not facts.priced:
            return "alone", "no other exchange has a live price of any of these assets in their currency"
        if self._outdated:
            return (
                "silent",
                f"{self._outdated} trades came, too old to be compared: is timestamp_path what it should be?",
            )
        ignored = f"; {facts.tally.ignored} frames fit no filter" if facts.tally.ignored else ""
        return "silent", f"no trade came of an asset that others price{ignored}"

    def _unreadable(self, facts: Facts) -> str:
        tally = facts.tally
        if facts.refused:
            return f"the exchange refuses {_listed(facts.refused)}"
        if tally.wrong >= WRONG_LEAST and tally.wrong > WRONG_SHARE * (tally.wrong + tally.trades):
            return wrong_words(tally)
        if self._ahead_ns > AHEAD_NS:
            return f"its trades are dated up to {self._ahead_ns / 1e9:.0f} s after they were received"
        return ""


def wrong_words(tally: Tally) -> str:
    """What came beside the trades."""
    reasons = {
        "trades without a price that can be read": tally.bad_prices,
        "trades of symbols that no row maps": tally.unmapped,
        "frames that no filter fits": tally.ignored,
        "errors": tally.errors,
        "frames that are no JSON": tally.malformed,
    }
    told = ", ".join(f"{count} {what}" for what, count in reasons.items() if count)
    return f"beside {tally.trades} trades there came {told}"


def _evidence(asset: str, found: _Compared | None, facts: Facts, bps: float) -> AssetEvidence:
    others = facts.priced.get(asset)
    off_bps = found.off_bps() if found else None
    standing: Standing = "unproven" if others else "alone"
    if found is not None and off_bps is not None:
        others = found.others
        standing = "disagrees" if off_bps > bps else "agrees"
    return AssetEvidence(
        asset=asset,
        currency=facts.wanted[asset],
        standing=standing,
        price=found.price if found and found.offs else None,
        others=others.price if others else None,
        sources=others.sources if others else 0,
        compared=len(found.offs) if found else 0,
        off_bps=None if off_bps is None else round(off_bps, 2),
    )


def _told(each: AssetEvidence) -> str:
    return f"{each.name} {each.off_bps:.1f} bps ({each.price} against {each.others:.10g} of {each.sources})"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
