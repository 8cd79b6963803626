"""The compiled hot path: the only door to it."""

from beast._fast._core import (
    COUNTERS,
    FAULTS,
    LOAD_BUCKETS_NS,
    LOAD_FAULTS,
    LOAD_WINDOW_MAX,
    PUBLIC_COUNTERS,
    RESULTS,
    Engine,
    Ingest,
    Load,
    Miss,
    Plan,
    key_record,
    monotonic_ns,
    udp_segment,
)

__all__ = [
    "COUNTERS",
    "FAULTS",
    "LOAD_BUCKETS_NS",
    "LOAD_FAULTS",
    "LOAD_WINDOW_MAX",
    "PUBLIC_COUNTERS",
    "RESULTS",
    "Engine",
    "Ingest",
    "Load",
    "Miss",
    "Plan",
    "key_record",
    "monotonic_ns",
    "udp_segment",
]
