"""What a recording server records of its parameters."""

from pathlib import Path
from typing import cast

import pytest

from beast._fast import Engine
from beast.base.clock import ManualClock
from beast.cluster.types import Parameters
from beast.feeds.recording.file import Event, find_parts, read_blocks
from beast.feeds.recording.file import Parameters as Recorded
from beast.serving.recording import RecordTo, ServedRecording

pytestmark = pytest.mark.anyio


async def test_all_that_decides_a_state_is_recorded_and_in_force(tmp_path: Path) -> None:
    clock, engine = ManualClock(), Engine(node="test", max_instruments=4)
    recording = ServedRecording(RecordTo(tmp_path, 1 << 22), engine, clock, version="1", max_instruments=4)
    recording.steer(
        Parameters(
            cache_ttl_ms=9_000,
            live_without_link_ms=700,
            price_band_bps=11,
            price_confirmations=3,
            consensus_quorum=4,
            consensus_outlier_bps=12,
        )
    )
    await recording.close()
    [part] = find_parts([tmp_path])
    with part.path.open("rb") as file:
        events = [event for block in read_blocks(file) for event in cast("tuple[Event, ...]", block)]
    [told] = [event for event in events if isinstance(event, Recorded)]
    assert told == Recorded(clock.monotonic_ns(), 9_000, 11, 3, 4, 12, 700)
    engine.load_instruments([(0, "BTC", "test", "USD", 1, 0)])
    epoch = engine.link_up(0, 10**10, clock.monotonic_ns())
    engine.publish(0, b"1", clock.wall_ns(), clock.monotonic_ns(), epoch=epoch)
    engine.link_down(0)
    states = [engine.peek(0, clock.monotonic_ns() + ms * 10**6) for ms in (699, 701)]
    assert [state and state["state"] for state in states] == ["live", "stale"]
