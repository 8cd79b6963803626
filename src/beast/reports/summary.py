"""The summary of a key's usage, short enough for a datagram."""

from typing import Any

import msgspec

from beast.reports.asking import stamp
from beast.reports.lines import SHARE_DIGITS
from beast.reports.store import Summary
from beast.reports.types import Period

TOP = 5
"""Assets told."""


def write_summary(found: Summary, period: Period, *, node: str, room: int) -> bytes:
    """One JSON object of at most `room` bytes; of the assets, as many as there is room for."""
    latency = [None if ns is None else round(ns / 1000, 3) for ns in found.ns or (None, None, None)]
    told: dict[str, Any] = {
        "period": period.name,
        "from": stamp(period.since),
        "to": stamp(period.until),
        "answers": found.answers,
        "prices": found.prices,
        "hit_rate": _share(found.tier_1 + found.tier_2, found.answers),
        "tiers": [found.tier_1, found.tier_2, found.tier_3],
        **dict(zip(("p50_us", "p95_us", "p99_us"), latency, strict=True)),
        "assets": found.assets,
        "top": [
            {"asset": asset, "answers": answers, "share": _share(answers, found.answers)}
            for asset, answers in zip(found.top, found.top_answers, strict=True)
        ],
        "node": node,
    }
    while len(body := msgspec.json.encode(told)) > room and told["top"]:
        told["top"].pop()
    return body


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, SHARE_DIGITS) if whole else None
