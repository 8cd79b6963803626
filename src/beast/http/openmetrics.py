"""OpenMetrics 1.0 text: https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from beast.engine.histogram import Buckets, cumulative

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
BOUNDS_NS = tuple(1 << power for power in range(10, 35))
"""Where the buckets of durations end: powers of two from 1 µs to 17 s, as the measured ones do."""

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Labels = Mapping[str, str]


class Family(msgspec.Struct, frozen=True):
    """One metric and all its samples."""

    name: str
    """Without the suffix that its kind adds."""
    kind: Literal["counter", "gauge", "info", "histogram"]
    text: str
    samples: Sequence[tuple[Labels, float | Buckets]]
    """Values by labels; of a histogram its buckets, which are durations in ns."""


def write(families: Iterable[Family]) -> str:
    """The whole exposition."""
    return "".join(line + "\n" for family in families for line in _lines(family)) + "# EOF\n"


def _lines(family: Family) -> Iterable[str]:
    yield f"# TYPE {family.name} {family.kind}"
    yield f"# HELP {family.name} {family.text.translate(_ESCAPES)}"
    for labels, value in family.samples:
        if not isinstance(value, int | float):
            yield from _histogram(family.name, labels, value)
        else:
            suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
            yield _line(family.name + suffix, labels, value)


def _histogram(name: str, labels: Labels, buckets: Buckets) -> Iterable[str]:
    """Its buckets only: what a histogram does not know, its sum, is left out, and with it the count (section 5.1.5)."""
    counts = cumulative(buckets, BOUNDS_NS)
    for bound, count in zip(BOUNDS_NS, counts, strict=True):
        yield _line(f"{name}_bucket", {**labels, "le": repr(bound / 1e9)}, count)
    yield _line(f"{name}_bucket", {**labels, "le": "+Inf"}, sum(count for _, count in buckets))


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"
