"""The recording that a server makes of what its exchanges send, from its first connection on."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from beast._fast import Engine
from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.cluster.types import Parameters
from beast.feeds.recording.recorder import PartWriter, Recorder, new_head
from beast.feeds.recording.tap import TappedEngine

LOOK_S: Final = 1.0
"""Between two looks at whether the disk still takes what comes."""

log = structlog.get_logger(__name__)


class RecordTo(msgspec.Struct, frozen=True):
    """Where a server's recording goes."""

    folder: Path
    max_bytes: int
    """Of all recordings in the folder: the oldest files are removed."""


class ServedRecording:
    """Records what the feeds tell the engine; the feeds and the catalogue are given `tap` for it.

    Args:
        to: Where it goes.
        engine: What is served from.
        clock: The time.
        version: Of this Beast.
        max_instruments: As the engine has them.

    Raises:
        BeastError: The folder can't be written.
    """

    def __init__(self, to: RecordTo, engine: Engine, clock: Clock, *, version: str, max_instruments: int) -> None:
        self._to = to
        try:
            head = new_head(clock, version=version, max_instruments=max_instruments)
            self._recorder = Recorder(PartWriter(to.folder, head, max_bytes=to.max_bytes), clock)
        except OSError as error:
            raise BeastError(
                f"can't be written: {error.strerror}", where=str(to.folder), todo="choose another --record"
            ) from None
        self.tap = TappedEngine(engine, self._recorder)

    def steer(self, parameters: Parameters) -> None:
        """Takes, and records, what decides prices and states."""
        self.tap.set_rules(
            ttl_ms=parameters.cache_ttl_ms,
            band_bps=parameters.price_band_bps,
            confirmations=parameters.price_confirmations,
            quorum=parameters.consensus_quorum,
            outlier_bps=parameters.consensus_outlier_bps,
            live_without_link_ms=parameters.live_without_link_ms,
        )

    async def watch(self, tell: Callable[[str | None], None]) -> None:
        """Tells why nothing is written any more, or None; runs until cancelled. Prices go on in any case."""
        while True:
            failure = self._recorder.failure
            tell(f"{self._to.folder}: {failure}" if failure else None)
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Writes what waits, and the end."""
        try:
            await asyncio.to_thread(self._recorder.close)
        except (OSError, BeastError) as error:
            log.error("recording.failed", folder=str(self._to.folder), error=str(error))  # noqa: TRY400 - told in full
        figures = msgspec.structs.asdict(self._recorder.figures)
        log.info("recording.ended", folder=str(self._to.folder), **figures)
