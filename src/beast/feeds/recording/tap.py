"""Stands between the feeds and the engine, and records what passes: all that decides prices and states passes here."""

from collections.abc import Sequence
from itertools import count

from beast._fast import Engine, Ingest, Plan
from beast._fast import Instruments as Batch
from beast.feeds.recording.file import (
    Backfill,
    Doubted,
    Epoch,
    Forgotten,
    Frame,
    Instruments,
    LinkDoubted,
    LinkDown,
    LinkProven,
    LinkUp,
    Opened,
    Parameters,
    Replanned,
    Rows,
    Swept,
    Symbols,
)
from beast.feeds.recording.recorder import Recorder
from beast.feeds.rows.files import Exchange
from beast.prices.catalogue import Row


class TappedBatch:
    """Instruments on their way into the engine. Made by TappedEngine.batch()."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.rows: list[Row] = []

    def add(self, rows: Sequence[Row]) -> None:
        """See Batch."""
        self.rows += rows
        self.batch.add(rows)

    def finish(self) -> None:
        """See Batch."""
        self.batch.finish()


class TappedEngine:
    """What the catalogue and the links use of the engine.

    Args:
        engine: Does what it is asked.
        recorder: Is told of it.
    """

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self._engine = engine
        self._recorder = recorder
        self._numbers = count()

    def set_rules(
        self,
        *,
        ttl_ms: int,
        band_bps: int,
        confirmations: int,
        quorum: int,
        outlier_bps: int,
        live_without_link_ms: int,
    ) -> None:
        """See Engine.set_ttl_ms(), set_price_rules() and set_live_without_link_ms()."""
        rules = band_bps, confirmations, quorum, outlier_bps
        self._recorder.add(Parameters(self._now_ns(), ttl_ms, *rules, live_without_link_ms))
        self._engine.set_ttl_ms(ttl_ms)
        self._engine.set_live_without_link_ms(live_without_link_ms)
        self._engine.set_price_rules(
            band_bps=band_bps, confirmations=confirmations, quorum=quorum, outlier_bps=outlier_bps
        )

    def set_rows(self, exchanges: Sequence[Exchange]) -> None:
        """The rows by which readers are made and planned anew from now on."""
        self._recorder.add(Rows(self._now_ns(), tuple(exchanges)))

    def batch(self) -> TappedBatch:
        """See Engine."""
        return TappedBatch(self._engine.batch())

    def load_instruments(self, rows: TappedBatch) -> None:
        """See Engine."""
        self._recorder.add(Instruments(self._now_ns(), tuple(rows.rows)))
        self._engine.load_instruments(rows.batch)

    def sweep(self, now_ns: int) -> None:
        """See Engine."""
        self._recorder.add(Swept(now_ns))
        self._engine.sweep(now_ns)

    def forget(self, instrument: int) -> None:
        """See Engine."""
        self._recorder.add(Forgotten(self._now_ns(), instrument))
        self._engine.forget(instrument)

    def link_up(self, link: int, patience_ns: int, now_ns: int) -> int:
        """See Engine."""
        epoch = self._engine.link_up(link, patience_ns, now_ns)
        self._recorder.add(LinkUp(now_ns, link, patience_ns, epoch))
        return epoch

    def link_proven(self, link: int, now_ns: int) -> None:
        """See Engine."""
        self._recorder.offer(LinkProven(now_ns, link))
        self._engine.link_proven(link, now_ns)

    def link_down(self, link: int) -> None:
        """See Engine."""
        self._recorder.add(LinkDown(self._now_ns(), link))
        self._engine.link_down(link)

    def link_doubt(self, link: int) -> int:
        """See Engine."""
        epoch = self._engine.link_doubt(link)
        self._recorder.add(LinkDoubted(self._now_ns(), link, epoch))
        return epoch

    def doubt(self, instrument: int) -> None:
        """See Engine."""
        self._recorder.add(Doubted(self._now_ns(), instrument))
        self._engine.doubt(instrument)

    def link_state(self, link: int) -> tuple[bool, int, int]:
        """See Engine."""
        return self._engine.link_state(link)

    def count(self, name: str, n: int = 1) -> None:
        """See Engine."""
        self._engine.count(name, n)

    def reader(self, exchange: str, link: int, ingest: Ingest, backfill_ns: int) -> "TappedIngest":
        """Taps a new reader of the exchange's frames."""
        number = next(self._numbers)
        self._recorder.add(Opened(self._now_ns(), number, exchange, link, backfill_ns))
        return TappedIngest(ingest, self._recorder, number)

    def _now_ns(self) -> int:
        return self._recorder.clock.monotonic_ns()


class TappedIngest:
    """What a link uses of its Ingest. Made by TappedEngine.reader()."""

    def __init__(self, ingest: Ingest, recorder: Recorder, number: int) -> None:
        self._ingest = ingest
        self._recorder = recorder
        self._number = number

    def set_symbols(self, symbols: Sequence[tuple[bytes, int]]) -> None:
        """See Ingest."""
        self._recorder.add(Symbols(self._now_ns(), self._number, tuple(symbols)))
        self._ingest.set_symbols(symbols)

    def set_plan(self, plan: Plan) -> None:
        """See Ingest. The plan is made from the rows that TappedEngine.set_rows() was last given."""
        self._recorder.add(Replanned(self._now_ns(), self._number))
        self._ingest.set_plan(plan)

    def set_epoch(self, epoch: int) -> None:
        """See Ingest."""
        self._recorder.add(Epoch(self._now_ns(), self._number, epoch))
        self._ingest.set_epoch(epoch)

    def set_backfill_ns(self, backfill_ns: int) -> None:
        """See Ingest."""
        self._recorder.add(Backfill(self._now_ns(), self._number, backfill_ns))
        self._ingest.set_backfill_ns(backfill_ns)

    def feed(self, frame: bytes | memoryview, received_ns: int, wall_ns: int, /) -> int:
        """See Ingest."""
        self._recorder.offer(Frame(received_ns, self._number, wall_ns, bytes(frame)))
        return self._ingest.feed(frame, received_ns, wall_ns)

    def take_gaps(self) -> list[tuple[int | None, int, int, int, int]]:
        """See Ingest."""
        return self._ingest.take_gaps()

    def symbols(self) -> list[tuple[bytes, int, int, int, int, int, int, int, int]]:
        """See Ingest."""
        return self._ingest.symbols()

    def tally(self) -> tuple[int, int, int, int, int]:
        """See Ingest."""
        return self._ingest.tally()

    def _now_ns(self) -> int:
        return self._recorder.clock.monotonic_ns()
