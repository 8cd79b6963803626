"""One minute of an exchange beside the others: prices compared as they come, frames counted, one verdict at its end.

Pure: who reads clocks, prices and connections is the observer.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from beast.feeds.link.tally import Tally
from beast.feeds.shadow.types import AssetEvidence, Kind, Standing, Verdict

NINE_OF_TEN: Final = 0.9
UNREAD_LEAST: Final = 5
"""Fewer that can't be read say nothing: every connection begins with words that no row needs to know."""
UNREAD_SHARE: Final = 0.1
"""More of what came than this must not be unreadable."""
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

    def off_bps(self) -> float:
        """Nine of ten are at least so close."""
        ordered = sorted(self.offs)
        return ordered[math.ceil(NINE_OF_TEN * len(ordered)) - 1]


class Minute:
    """Takes comparisons, gives the verdict."""

    def __init__(self) -> None:
        self._compared: dict[str, _Compared] = {}
        self._outdated = 0
        self._ahead_ns = 0

    def compare(self, asset: str, price: str, others: Others) -> None:
        """A trade that came just now, beside what the others say at this moment."""
        found = self._compared.setdefault(asset, _Compared())
        found.price, found.others = price, others
        found.offs.append(abs(float(price) / others.price - 1) * 1e4)

    def note_time(self, lag_ns: int, *, fresh: bool) -> None:
        """A trade's time: how far behind its receipt it is, and whether it can be compared."""
        self._outdated += not fresh
        self._ahead_ns = max(self._ahead_ns, -lag_ns)

    def verdict(self, facts: Facts, bps: float) -> Verdict:
        """What the minute says of the exchange, `bps` being how far it may be off, in 1/10,000."""
        assets = sorted(
            (self._evidence(name, facts, bps) for name in facts.wanted), key=lambda each: -(each.off_bps or 0.0)
        )
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
        old = f"{self._outdated} trades came, but all too old to be compared: is timestamp_path what it should be?"
        return "silent", old if self._outdated else "no trade came of an asset that others price"

    def _unreadable(self, facts: Facts) -> str:
        tally = facts.tally
        if facts.refused:
            return f"the exchange refuses {_listed(facts.refused)}"
        if tally.unread >= UNREAD_LEAST and tally.unread > UNREAD_SHARE * (tally.unread + tally.trades):
            return unread_words(tally)
        if self._ahead_ns > AHEAD_NS:
            return f"its trades are dated up to {self._ahead_ns / 1e9:.0f} s after they were received"
        return ""

    def _evidence(self, asset: str, facts: Facts, bps: float) -> AssetEvidence:
        found, others = self._compared.get(asset), facts.priced.get(asset)
        off_bps = found.off_bps() if found else None
        standing: Standing = "unproven" if others else "alone"
        if off_bps is not None:
            standing = "disagrees" if off_bps > bps else "agrees"
        shown = found.others if found else others
        return AssetEvidence(
            asset=asset,
            currency=facts.wanted[asset],
            standing=standing,
            price=found.price if found else None,
            others=shown.price if shown else None,
            sources=shown.sources if shown else 0,
            compared=len(found.offs) if found else 0,
            off_bps=None if off_bps is None else round(off_bps, 2),
        )


def unread_words(tally: Tally) -> str:
    """What could not be read, and why."""
    reasons = {
        "trades without a price that can be read": tally.bad_prices,
        "trades of symbols that no row maps": tally.unmapped,
        "frames that no filter fits": tally.ignored,
        "errors": tally.errors,
        "frames that are no JSON": tally.malformed,
    }
    told = ", ".join(f"{count} {what}" for what, count in reasons.items() if count)
    return f"beside {tally.trades} trades there came {told}"


def _told(each: AssetEvidence) -> str:
    return f"{each.asset} {each.off_bps:.1f} bps ({each.price} against {each.others:.10g} of {each.sources})"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
