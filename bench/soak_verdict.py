"""What a soak keeps of each minute, and whether the whole of them is good enough. No clock and no file is read here."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from beast.engine.load import Figures

WARM_UP_SHARE = 6
"""One part in so many of the minutes belongs to the warm-up, and is left out of every trend."""
RSS_GROWTH_SHARE = 0.01
RSS_GROWTH_KIB = 2048
"""The fitted line may rise by the larger of the two from the end of the warm-up to the end."""
DESCRIPTORS_GROWTH = 2.0
RISE = {"p50_us": 1.25, "p90_us": 1.25, "p99_us": 1.25, "p999_us": 1.5}
"""How much higher than in the first third the median of a percentile may be in the last third, as seen by clients."""
SERVER_RISE = {"p50": 1.25, "p90": 1.25, "p99": 1.25, "p99_9": 1.5}
"""The same as the server sees it."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of one minute, and what the kernel says of the server at its end."""

    counters: dict[str, int]
    """Everything counted in this minute."""
    latency_us: dict[str, dict[str, float | None]]
    """Percentiles of this minute, by histogram."""
    rss_kib: int
    descriptors: int


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """One sample."""

    minute: float
    """Since the start of the load."""
    udp: dict[str, Any]
    """`Figures.row()` of this minute alone."""
    http: dict[str, Any]
    server: Server
    busy: dict[str, float]
    """Percent of its time that each processor was busy; of all together, `steal` was kept by the host, `database` went
    to PostgreSQL and `others` to strangers."""
    load_average: float
    faults: tuple[str, ...]
    """Injected in this minute."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides' sums over the whole load, taken while nothing was under way."""

    udp: Figures
    http: Figures
    counters: dict[str, int]
    billed: int
    """Answers that the database has for the keys of the load, those of the search for the limit left out."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was judged."""

    name: str
    passed: bool
    detail: str


def between(before: Figures, now: Figures) -> Figures:
    """What was counted from `before` until `now`."""
    worst = max((bucket for bucket, count in enumerate(now.latency) if count > _at(before.latency, bucket)), default=-1)
    return Figures(
        sent=now.sent - before.sent,
        answered=now.answered - before.answered,
        lost=now.lost - before.lost,
        unsent=now.unsent - before.unsent,
        reconnects=now.reconnects - before.reconnects,
        wrong=_less(now.wrong, before.wrong),
        refused=_less(now.refused, before.refused),
        elapsed_ns=now.elapsed_ns - before.elapsed_ns,
        worst_ns=now.worst_ns if worst >= 0 else 0,
        latency=tuple(count - _at(before.latency, bucket) for bucket, count in enumerate(now.latency)),
        sample=now.sample,
    )


def row(figures: Figures) -> dict[str, Any]:
    """The figures of one minute. Its worst is the upper edge of the highest bucket, as that of the run may be older."""
    return {**figures.row(), "max_us": figures.percentile_us(1.0)}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Rise of the least-squares line through (x, y), in y for each x; 0 when there are fewer than two points."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def judge(minutes: Sequence[Minute], totals: Totals) -> list[Finding]:
    """Everything that a soak promises, each with the figures it was judged by."""
    steady = minutes[max(1, len(minutes) // WARM_UP_SHARE) :]
    return [*_nothing_lost(totals), *_adds_up(totals), *_does_not_grow(steady), *_stays_flat(steady)]


def _nothing_lost(totals: Totals) -> Iterator[Finding]:
    for name, figures in (("udp", totals.udp), ("http", totals.http)):
        missing = figures.lost + figures.unsent + figures.reconnects
        detail = f"{figures.answered:,} answered of {figures.sent:,} sent, {figures.lost} lost, {figures.unsent} unsent"
        yield Finding(f"{name}: no loss", figures.answered > 0 and missing == 0, detail)
        yield Finding(f"{name}: no wrong answer", not figures.wrong, _counts(figures.wrong))
        yield Finding(f"{name}: no refusal", not figures.refused, _counts(figures.refused))
    dropped = {name: totals.counters[name] for name in ("udp_kernel_drops", "udp_send_errors", "udp_packets_dropped")}
    yield Finding("no datagram dropped", not any(dropped.values()), _counts(dropped))


def _adds_up(totals: Totals) -> Iterator[Finding]:
    told, answered = totals.counters, totals.udp.answered + totals.http.answered
    ends = told["udp_answered"] + told["udp_refused"] + told["udp_ignored"] + told["udp_parked"]
    yield _same("datagrams: sent, received, ended", totals.udp.sent, told["udp_packets_received"], ends)
    yield _same("udp: answers at both ends", totals.udp.answered, told["udp_answered"])
    yield _same("http: requests at both ends", totals.http.sent, told["tcp_requests"])
    yield _same("http: answers at both ends", totals.http.answered, told["http_answered"])
    yield _same("usage: answers, records, billed", answered, told["usage_records"], totals.billed)
    yield Finding("no usage record lost", told["usage_lost"] == 0, f"{told['usage_lost']} lost")


def _does_not_grow(steady: Sequence[Minute]) -> Iterator[Finding]:
    hours = [each.minute / 60 for each in steady]
    memory = [each.server.rss_kib for each in steady]
    allowed = max(RSS_GROWTH_KIB, RSS_GROWTH_SHARE * (memory or [0])[0])
    yield _still("memory", "KiB", hours, memory, allowed)
    yield _still("descriptors", "descriptors", hours, [each.server.descriptors for each in steady], DESCRIPTORS_GROWTH)


def _still(name: str, unit: str, hours: Sequence[float], values: Sequence[int], allowed: float) -> Finding:
    if not values:
        return Finding(f"{name}: no growth", passed=False, detail="no minute after the warm-up")
    an_hour = slope(list(zip(hours, values, strict=True)))
    rise = an_hour * (hours[-1] - hours[0])
    fitted = f"{an_hour:+,.1f} {unit} an hour, {rise:+,.1f} over the fit, {allowed:,.0f} allowed"
    return Finding(f"{name}: no growth", rise <= allowed, f"{fitted}; between {min(values):,} and {max(values):,}")


def _stays_flat(steady: Sequence[Minute]) -> Iterator[Finding]:
    third = max(1, len(steady) // 3)
    for protocol in ("udp", "http"):
        for name, most in RISE.items():
            values = [float(getattr(each, protocol)[name]) for each in steady]
            yield _flat(f"{protocol}: {name.removesuffix('_us')} flat", values[:third], values[-third:], most)
        for name, most in SERVER_RISE.items():
            told = [value for each in steady if (value := each.server.latency_us[protocol][name]) is not None]
            if told or not steady:
                yield _flat(f"{protocol} in the server: {name} flat", told[:third], told[-third:], most)


def _flat(name: str, first: Sequence[float], last: Sequence[float], most: float) -> Finding:
    if not first:
        return Finding(name, passed=False, detail="no minute after the warm-up")
    before, after = statistics.median(first), statistics.median(last)
    detail = f"{before:,.0f} µs in the first third, {after:,.0f} µs in the last ({most} times as much allowed)"
    return Finding(name, before > 0 and after <= before * most, detail)


def _same(name: str, *counts: int) -> Finding:
    return Finding(name, len(set(counts)) == 1, " = ".join(f"{count:,}" for count in counts))


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.items()) or "none"


def _at(latency: Sequence[int], bucket: int) -> int:
    return latency[bucket] if bucket < len(latency) else 0


def _less(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in now.items() if count != before.get(name, 0)}
