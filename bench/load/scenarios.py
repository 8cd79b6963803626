"""What is measured: ways of asking, whom Beast is compared with, and the ratio it has to reach."""

from dataclasses import dataclass

from peers import Ask

from beast.engine.load import LADDER, closed_level


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way of asking."""

    name: str
    ask: Ask
    against: str
    """The peer of the ratio, or the scenario of Beast's own."""
    aim: float
    """Ratio to reach: the other's processor time per answer by Beast's."""
    beside: tuple[str, ...] = ()
    """Peers that are only shown."""


UDP_PEERS = ("echo_gso", "classic", "uvloop")

SCENARIOS = (
    Scenario(
        name="udp-distinct",
        ask=Ask(protocol="udp", sockets=300, in_flight=300),
        against="echo",
        aim=0.94,
        beside=UDP_PEERS,
    ),
    Scenario(
        name="udp-pipelined",
        ask=Ask(protocol="udp", sockets=8, in_flight=512),
        against="echo",
        aim=1.25,
        beside=UDP_PEERS,
    ),
    Scenario(
        name="udp-interleaved",
        ask=Ask(protocol="udp", sockets=8, in_flight=512, interleaved=True),
        against="echo",
        aim=1.25,
        beside=UDP_PEERS,
    ),
    *(
        Scenario(
            name=f"udp-segment-{window}",
            ask=Ask(protocol="segment", sockets=8, in_flight=8 * window),
            against="echo",
            aim=aim,
            beside=("echo_gso",),
        )
        for window, aim in ((64, 12.0), (8, 2.8), (4, 1.5))
    ),
    Scenario(
        name="http-keepalive",
        ask=Ask(protocol="http", sockets=64, in_flight=64),
        against="nginx",
        aim=1.12,
        beside=("classic", "uvicorn", "fastapi"),
    ),
    Scenario(
        name="http-pipeline-16",
        ask=Ask(protocol="http", sockets=64, in_flight=1024),
        against="http-keepalive",
        aim=8.0,
        beside=("nginx", "classic"),
    ),
)
LADDER_ASKS = tuple(
    Ask(protocol="udp", sockets=level.sockets, in_flight=level.in_flight) for level in map(closed_level, LADDER)
)
RATES = (10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000)
RATE_ASKS = tuple(Ask(protocol="udp", sockets=100, rate=rate) for rate in RATES)
EXTRA = ("udp-ladder", "udp-latency")
"""Scenarios of another shape: every level of the ladder, and latency against load."""
