"""What the server has counted: totals since the start for collectors, figures since a base line for people.

Nothing is ever zeroed: a worker's counters are its own. A reset moves the base line that readers subtract.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from beast._fast import COUNTERS, PUBLIC_COUNTERS, Engine
from beast.base.clock import Clock
from beast.engine.histogram import Buckets, Histogram, percentile_ns, since

GAUGES = frozenset({"db_open_conns", "db_in_use_conns", "udp_parked"})
"""Those of the counters that say how many there are now; no base line is subtracted from them."""
SAMPLE_S = 1.0
WINDOW = 10
"""Samples in the short window: rates are told over the last ten seconds, too."""
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
REQUESTS = {"udp": "udp_requests", "tcp": "tcp_requests", "lrs": "lrs_requests"}


class Rate(msgspec.Struct, frozen=True):
    """Requests a second."""

    since_reset: float
    last_10s: float


class Derived(msgspec.Struct, frozen=True, kw_only=True):
    """Figures that follow from the counters. A percentage of nothing is null."""

    rps: dict[str, Rate]
    hit_pct: dict[str, float | None]
    """Of the prices asked for: found in memory, by tier 2, by tier 3."""
    drop_pct: dict[str, float | None]
    """Datagrams that the kernel dropped, background work and usage records that found no room."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Everything since the base line."""

    since_reset_s: float
    public: dict[str, int]
    """The 24 of the dashboards."""
    inner: dict[str, int]
    derived: Derived
    latency_us: dict[str, dict[str, float | None]]
    """Percentiles by histogram: `udp`, `http`, `visible` (frame read until its price could be asked), `loop_lag`."""


class Sample(msgspec.Struct, frozen=True):
    """All counters at one moment."""

    at_ns: int
    counters: dict[str, int]


class Telemetry:
    """Reads the engine's counters and histograms, and those of the main thread.

    Args:
        engine: Whose.
        clock: The time.
        loop_lag: How late the event loop was, each time it was looked at.
        extra: Counters that other parts keep, by the engine's names for them.
    """

    def __init__(
        self, engine: Engine, clock: Clock, *, loop_lag: Histogram, extra: Callable[[], Mapping[str, int]] = dict
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._loop_lag = loop_lag
        self._extra = extra
        self._base, self._base_latencies = self._now(), self.latencies()
        self._samples = deque([self._base], maxlen=WINDOW + 1)

    async def run(self) -> None:
        """Samples until cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            self.sample()

    def sample(self) -> None:
        """Remembers the totals of this moment, for the rates of the short window."""
        self._samples.append(self._now())

    def counters(self) -> dict[str, int]:
        """Totals since the start, by name; gauges as they are now."""
        return {**self._engine.counters(), **self._extra()}

    def latencies(self) -> dict[str, Buckets]:
        """Histograms since the start, by name."""
        return {**self._engine.histograms(), "loop_lag": self._loop_lag.buckets()}

    def stats(self) -> Stats:
        """What has happened since the base line."""
        return self._stats(self._now(), self.latencies())

    def reset(self) -> Stats:
        """Moves the base line to now; returns what there was until now."""
        now, latencies = self._now(), self.latencies()
        stats = self._stats(now, latencies)
        self._base, self._base_latencies = now, latencies
        return stats

    def _now(self) -> Sample:
        return Sample(self._clock.monotonic_ns(), self.counters())

    def _stats(self, now: Sample, latencies: Mapping[str, Buckets]) -> Stats:
        counted = difference(now.counters, self._base.counters)
        return Stats(
            since_reset_s=(now.at_ns - self._base.at_ns) / 1e9,
            public={name: counted[name] for name in COUNTERS[:PUBLIC_COUNTERS]},
            inner={name: counted[name] for name in COUNTERS[PUBLIC_COUNTERS:]},
            derived=Derived(rps=self._rates(now), hit_pct=hits(counted), drop_pct=drops(counted)),
            latency_us={
                name: percentiles_us(since(buckets, self._base_latencies.get(name, ())))
                for name, buckets in latencies.items()
            },
        )

    def _rates(self, now: Sample) -> dict[str, Rate]:
        return {
            protocol: Rate(_per_second(name, self._base, now), _per_second(name, self._samples[0], now))
            for protocol, name in REQUESTS.items()
        }


def difference(now: Mapping[str, int], base: Mapping[str, int]) -> dict[str, int]:
    """Counters since `base`; gauges as they are in `now`."""
    return {name: value - (0 if name in GAUGES else base[name]) for name, value in now.items()}


def hits(counted: Mapping[str, int]) -> dict[str, float | None]:
    """Which tier had the prices that were asked for, in percent of them."""
    asked = counted["syncmap_hits"] + counted["cache_misses"]
    tiers = {"memory": "syncmap_hits", "tier_2": "elasticache_hits", "tier_3": "rest_fallbacks"}
    return {tier: _percent(counted[name], asked) for tier, name in tiers.items()}


def drops(counted: Mapping[str, int]) -> dict[str, float | None]:
    """What was lost, in percent of what came."""
    datagrams = counted["udp_packets_received"] + counted["udp_packets_dropped"]
    usage = counted["usage_records"] + counted["usage_lost"]
    return {
        "udp": _percent(counted["udp_packets_dropped"], datagrams),
        "background": _percent(counted["bg_work_dropped"], counted["bg_work_submitted"]),
        "usage": _percent(counted["usage_lost"], usage),
    }


def percentiles_us(buckets: Buckets) -> dict[str, float | None]:
    """PERCENTILES of a histogram in µs; null while it is empty."""
    found = {name: percentile_ns(buckets, share) for name, share in PERCENTILES.items()}
    return {name: None if bound is None else bound / 1e3 for name, bound in found.items()}


def _per_second(name: str, base: Sample, now: Sample) -> float:
    elapsed_ns = now.at_ns - base.at_ns
    return round((now.counters[name] - base.counters[name]) * 1e9 / elapsed_ns, 1) if elapsed_ns else 0.0


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 4) if whole else None
