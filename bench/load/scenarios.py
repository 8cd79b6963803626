"""What is measured: ways of asking, whom Beast is compared with, and the ratio it has to reach."""

from dataclasses import dataclass

from bench.load.peers import Ask
from bench.load.setup import Setup

from beast.engine.load import LADDER, closed_level

MILLION = 1_000_000
BEASTS = {
    "beast": Setup(),
    "beast-no-usage": Setup(usage=False),
    "beast-keys": Setup(keys=MILLION),
    "beast-updates": Setup(assets=10_000, updates=100_000),
    "beast-updates-keys": Setup(assets=10_000, updates=100_000, keys=MILLION),
    "beast-timed": Setup(sample=16),
    "beast-timed-spin": Setup(sample=16, spin_us=50),
}
"""Beasts of different set-ups, by the name that scenarios know them by."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way of asking."""

    name: str
    ask: Ask
    against: str
    """Whom the ratio compares with: a peer, another Beast, or an earlier scenario of Beast's own."""
    aim: float
    """Ratio to reach: the other's processor time per answer by Beast's."""
    server: str = "beast"
    """Which Beast is asked."""
    beside: tuple[str, ...] = ()
    """Peers that are only shown."""


UDP_PEERS = ("echo_gso", "classic", "uvloop")
DISTINCT = Ask(protocol="udp", sockets=300, in_flight=300)

SCENARIOS = (
    Scenario(name="udp-distinct", ask=DISTINCT, against="echo", aim=0.94, beside=UDP_PEERS),
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
    Scenario(name="udp-usage", ask=DISTINCT, against="beast-no-usage", aim=0.97),
    Scenario(name="udp-keys", ask=DISTINCT, server="beast-keys", against="beast", aim=0.92),
    Scenario(name="udp-updates", ask=DISTINCT, server="beast-updates", against="echo", aim=0.87),
    Scenario(name="udp-updates-keys", ask=DISTINCT, server="beast-updates-keys", against="echo", aim=0.83),
)
LADDER_ASKS = tuple(
    Ask(protocol="udp", sockets=level.sockets, in_flight=level.in_flight) for level in map(closed_level, LADDER)
)
RATES = (10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000)
RATE_ASKS = tuple(Ask(protocol="udp", sockets=100, rate=rate) for rate in RATES)
SWEEPS = {"udp-ladder": LADDER_ASKS, "udp-latency": RATE_ASKS}
"""Level by level: the ladder, and latency against load."""
TIMED = {
    "udp-service": ("udp", ("beast-timed", "beast-timed-spin")),
    "tick-to-serve": ("visible", ("beast", "beast-updates")),
}
"""What a Beast's own histogram says at half load: which one, of which Beasts."""
HALF_SOCKETS = 100
EXTRA = (*SWEEPS, *TIMED)
"""Scenarios of another shape than a ratio."""
