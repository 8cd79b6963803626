"""beast record: what the exchanges send, into files that beast replay plays."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import uvloop
from cyclopts import App, Parameter
from cyclopts.validators import Number

from beast._fast import Engine
from beast.base.clock import SystemClock
from beast.base.config import Config
from beast.base.config_sources import load_config
from beast.base.errors import BeastError, UsageError
from beast.base.log import configure_logging
from beast.base.tasks import Tasks
from beast.cli.sizes import size_of
from beast.cluster.parameters import ParameterSync
from beast.cluster.types import Parameters
from beast.feeds.following import load_rows, products_of
from beast.feeds.manager import FeedManager
from beast.feeds.recording.recorder import PartWriter, Recorder, new_head
from beast.feeds.recording.tap import TappedEngine
from beast.feeds.rows.files import Exchange, read_rows
from beast.feeds.simulator import Simulator
from beast.feeds.store import FeedStore
from beast.prices.catalogue import Catalogue
from beast.prices.sweep import sweep
from beast.storage.opening import open_database

LOOK_S: Final = 0.2
"""Between two looks at whether the disk still takes what comes, in seconds."""

app = App(
    name="record",
    help_epilogue="""Examples:
  beast record --minutes 60
  beast record --exchange kraken --exchange okx --out /var/lib/beast/recordings --max-size 20GB
  beast record --rows binance.toml --minutes 5
  beast record --feeds sim --minutes 1""",
)


@app.default
def record(
    *,
    exchange: Annotated[list[str] | None, Parameter(negative=())] = None,
    minutes: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    out: Path | None = None,
    max_size: str = "1GB",
    rows: Annotated[list[Path] | None, Parameter(negative=())] = None,
    feeds: Literal["live", "sim"] | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Record what the exchanges send, until Ctrl-C.

    Connections of its own are opened, by the rows as they are at the start; no server is needed, and none is touched.

    Args:
        exchange: Only this one, even if it is switched off; may be repeated.
        minutes: Stop after so long; 0 means never.
        out: Folder for the files; else `recordings` in the home.
        max_size: Of all recordings in the folder, such as 500MB: the oldest files are removed.
        rows: Take an exchange's rows from this file instead of the tables; may be repeated.
        feeds: The real exchanges, or the built-in simulator.
        as_json: Print what was written as one JSON object.
    """
    config = load_config({"feeds": feeds}).config
    configure_logging(config.log_level, config.log_format)
    folder = out or config.home / "recordings"
    limit = size_of(max_size, "--max-size")
    figures = uvloop.run(
        _record(config, exchange or [], rows or [], folder=folder, max_bytes=limit, seconds=minutes * 60)
    )
    if as_json:
        sys.stdout.write(msgspec.json.encode({"folder": str(folder), **figures}).decode() + "\n")
    else:
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in figures.items() if count)
        sys.stdout.write(f"{folder}: {told}\n")
    return 0


async def _record(
    config: Config, names: Sequence[str], files: Sequence[Path], *, folder: Path, max_bytes: int, seconds: float
) -> dict[str, int]:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    rows, parameters = await _sources(config, files)
    rows = _chosen(rows, names)
    clock = SystemClock()
    try:
        head = new_head(clock, version=version("trinity-beast"), max_instruments=config.max_instruments)
        recorder = Recorder(PartWriter(folder, head, max_bytes=max_bytes), clock)
    except OSError as error:
        raise BeastError(
            f"can't be written: {error.strerror}", where=str(folder), todo="choose another --out"
        ) from None
    try:
        async with AsyncExitStack() as stack:
            await _start(stack, config, rows, parameters, recorder)
            sys.stderr.write(f"recording {len(rows)} exchanges into {folder}; Ctrl-C stops\n")
            await _wait(ended, recorder, seconds)
    finally:
        try:
            await asyncio.to_thread(recorder.close)
        except OSError as error:
            raise BeastError(f"can't be written: {error.strerror}", where=str(folder)) from None
    return msgspec.structs.asdict(recorder.figures)


async def _sources(config: Config, files: Sequence[Path]) -> tuple[list[Exchange], Parameters]:
    """The rows, and the parameters that decide prices."""
    if files:
        return [read_rows(file) for file in files], Parameters()
    async with open_database(config, application_name="beast-record", max_size=2) as database:
        rows, unreadable = await load_rows(FeedStore(database))
        for each in unreadable:
            sys.stderr.write(f"beast: {each.name}: {each.reason} (import its rows again)\n")
        return rows, await ParameterSync(database, SystemClock()).load()


def _chosen(rows: Sequence[Exchange], names: Sequence[str]) -> list[Exchange]:
    if unknown := sorted(set(names) - {each.feed.name for each in rows}):
        raise UsageError(f"there is no exchange {unknown[0]!r}", where="--exchange", todo="see beast feeds list")
    if not names:
        return [each for each in rows if each.feed.enabled]
    return [
        Exchange(msgspec.structs.replace(each.feed, enabled=True), each.assets)
        for each in rows
        if each.feed.name in names
    ]


async def _start(
    stack: AsyncExitStack, config: Config, rows: Sequence[Exchange], parameters: Parameters, recorder: Recorder
) -> None:
    """Feeds with an engine that serves nobody: it holds prices, as a server's does."""
    engine = Engine(node="record", max_instruments=config.max_instruments, max_keys=1024, usage_ring=1024)
    tap = TappedEngine(engine, recorder)
    tap.set_rules(
        ttl_ms=parameters.cache_ttl_ms,
        band_bps=parameters.price_band_bps,
        confirmations=parameters.price_confirmations,
        quorum=parameters.consensus_quorum,
        outlier_bps=parameters.consensus_outlier_bps,
        live_without_link_ms=parameters.live_without_link_ms,
    )
    urls = None
    if config.feeds == "sim":
        simulator = Simulator(seed=config.sim_seed, products=products_of(rows))
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        urls = partial(_address, simulator)
    catalogue = Catalogue(tap, max_instruments=config.max_instruments)
    feeds = FeedManager(engine, catalogue, urls=urls, tap=tap)
    feeds.set_backfill(parameters.backfill_ms)
    stack.push_async_callback(feeds.stop)
    tasks = Tasks()
    stack.push_async_callback(tasks.cancel)
    tasks.spawn("price sweep", sweep(tap, recorder.clock))
    await feeds.apply(rows)


def _address(simulator: Simulator, exchange: str, original: str) -> str:
    """Where to connect in place of an exchange's address; one that the simulator can't play keeps its own."""
    return simulator.url(exchange, original) if exchange in simulator.exchanges else original


async def _wait(ended: asyncio.Event, recorder: Recorder, seconds: float) -> None:
    """Until told to stop, the time is over, or nothing can be written any more."""
    until_ns = recorder.clock.monotonic_ns() + round(seconds * 1e9) if seconds else None
    while recorder.failure is None and not ended.is_set():
        if until_ns is not None and recorder.clock.monotonic_ns() >= until_ns:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await ended.wait()
