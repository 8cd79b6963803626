"""The numbers to reach, and what a run reached of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

Run = dict[str, Any]
NOTHING = "not measured"


class Aim(NamedTuple):
    """One number to reach."""

    name: str
    what: str
    must: str
    how: str
    """The command that measures it, or the scenarios of `make bench`."""
    reached: Callable[[Run], str]


def _row(run: Run, scenario: str) -> Run | None:
    return next((row for row in run["results"] if row["scenario"] == scenario), None)


def _ratios(*scenarios: str) -> Callable[[Run], str]:
    def told(run: Run) -> str:
        found = [row for name in scenarios if (row := _row(run, name))]
        return " · ".join(f"{row['ratio']:.2f}" for row in found) or NOTHING

    return told


def _pipelined(run: Run) -> str:
    row = _row(run, "udp-pipelined")
    ratios = _ratios("udp-pipelined", "udp-interleaved")(run)
    return f"{ratios}; {row['per_core']:,}" if row else ratios


def _ladder(run: Run) -> str:
    row = _row(run, "udp-ladder")
    return f"{sum(level['bad'] for level in row['levels']):,.0f} of them" if row else NOTHING


def _cost(scenario: str) -> Callable[[Run], str]:
    def told(run: Run) -> str:
        row = _row(run, scenario)
        return f"{100 * (1 / row['ratio'] - 1):.1f} %" if row else NOTHING

    return told


def _keys(run: Run) -> str:
    row = _row(run, "udp-keys")
    if not row:
        return NOTHING
    about = row["about"]
    return f"{about['bytes_per_key']:.0f} bytes; {about['keys_s']:.2f} s; {_cost('udp-keys')(run)}"


def _updates(run: Run) -> str:
    row = _row(run, "udp-updates")
    ratios = _ratios("udp-updates", "udp-updates-keys")(run)
    return f"{ratios}; {row['about']['bytes_per_instrument']:,.0f} bytes an asset" if row else ratios


def _timed(scenario: str) -> Callable[[Run], str]:
    def told(run: Run) -> str:
        row = _row(run, scenario)
        levels = [level for level in row["levels"] if level["p50_us"] is not None] if row else []
        return " · ".join(f"{level['p50_us']:.1f} / {level['p99_us']:.0f} µs" for level in levels) or NOTHING

    return told


def _elsewhere(_run: Run) -> str:
    return "below"


AIMS = (
    Aim(
        "H1", "UDP, 300 clients with one request in flight", "≥ 0.94 of echo", "`udp-distinct`", _ratios("udp-distinct")
    ),
    Aim(
        "H2",
        "UDP, 8 clients with 64 in flight: sent together · interleaved",
        "≥ 1.25 of echo, both; ≥ 487,900 a second and core",
        "`udp-pipelined`, `udp-interleaved`",
        _pipelined,
    ),
    Aim(
        "H3",
        "UDP, clients that use UDP_SEGMENT, windows of 64 · 8 · 4",
        "≥ 12 · 2.8 · 1.5 of echo",
        "`udp-segment-64`, `-8`, `-4`",
        _ratios("udp-segment-64", "udp-segment-8", "udp-segment-4"),
    ),
    Aim(
        "H4",
        "User-space part of a UDP request",
        "≤ 80 ns; ≤ 550 instructions, ≤ 750 with exchange and id",
        "`make -C bench/micro/c`",
        _elsewhere,
    ),
    Aim("H5", "Lost or wrong answers on the ladder, 30 to 21,000 in flight", "none", "`udp-ladder`", _ladder),
    Aim("H6", "HTTP keep-alive, 64 connections", "≥ 1.12 of nginx", "`http-keepalive`", _ratios("http-keepalive")),
    Aim("H7", "HTTP, 16 requests pipelined", "≥ 8 of H6", "`http-pipeline-16`", _ratios("http-pipeline-16")),
    Aim(
        "H8",
        "Service time at half load, p50 / p99: asleep between batches · with `spin_us` 50",
        "≤ 22 / 200 µs · p50 ≤ 4 µs",
        "`udp-service`",
        _timed("udp-service"),
    ),
    Aim(
        "H9",
        "Frame read until its price is visible, at half load, p50 / p99: 1,000 · 100,000 updates a second",
        "≤ 20 / 100 µs",
        "`tick-to-serve`",
        _timed("tick-to-serve"),
    ),
    Aim("H10", "Reading and storing a trade frame", "≤ 0.25 µs", "`python -m bench.ingest.run`", _elsewhere),
    Aim("H11", "Cost of usage records", "≤ 3 % of H1", "`udp-usage`", _cost("udp-usage")),
    Aim(
        "H12",
        "A million API keys: memory of each; loaded in; cost of drawing them at random",
        "≤ 150 bytes; ≤ 1 s; ≤ 8 % of H1",
        "`udp-keys`",
        _keys,
    ),
    Aim(
        "H13",
        "10,000 assets, 100,000 price updates a second: with one key · with a million",
        "≥ 0.87 · 0.83 of echo",
        "`udp-updates`, `udp-updates-keys`",
        _updates,
    ),
)
