"""What goes wrong with the exchanges during a soak: a plan that its seed alone decides."""

from collections.abc import Sequence
from random import Random

from beast.feeds.simulator.faults import FaultRequest

CALM_S = 20.0
"""Before the first fault and after the last."""
LASTS_S = (5.0, 40.0)
PAUSE_S = (5.0, 25.0)
ARGUMENTS: dict[str, tuple[dict[str, float | str], ...]] = {
    "silence": ({},),
    "half_open": ({},),
    "disconnect": ({"code": 0}, {"code": 1001}),
    "malformed": ({"every": 1}, {"every": 5}),
    "slow": ({"ms": 500}, {"ms": 2000}),
    "spike": ({"factor": 10.0}, {"factor": 0.1}),
}
"""Each kind with the ways in which it comes."""


def plan(seed: int, exchanges: Sequence[str], seconds: float) -> list[tuple[float, FaultRequest]]:
    """(seconds since the start, fault), one exchange at a time and never the same one twice in a row.

    So an asset of three exchanges keeps a healthy source, also while the exchange before is still coming back.
    """
    draw = Random(f"soak/{seed}")
    planned: list[tuple[float, FaultRequest]] = []
    at_s, last = CALM_S, ""
    while True:
        exchange = draw.choice([each for each in exchanges if each != last])
        kind = draw.choice(list(ARGUMENTS))
        lasts_s = round(draw.uniform(*LASTS_S), 1)
        if at_s + lasts_s > seconds - CALM_S:
            return planned
        planned.append((round(at_s, 1), FaultRequest(exchange, kind, lasts_s, draw.choice(ARGUMENTS[kind]))))
        at_s, last = at_s + lasts_s + draw.uniform(*PAUSE_S), exchange
