"""The compiled hot path: the only door to it."""

from beast._fast._core import (
    COUNTERS,
    FAULTS,
    PUBLIC_COUNTERS,
    RESULTS,
    Engine,
    Ingest,
    Miss,
    Plan,
    key_record,
    monotonic_ns,
)

__all__ = [
    "COUNTERS",
    "FAULTS",
    "PUBLIC_COUNTERS",
    "RESULTS",
    "Engine",
    "Ingest",
    "Miss",
    "Plan",
    "key_record",
    "monotonic_ns",
]
