"""The price side: the engine, what feeds it, and what it is asked through."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from beast._fast import Engine
from beast.accounts.service import Accounts, key_digest
from beast.accounts.store import AccountStore
from beast.accounts.sync import KeySync
from beast.base.config import Config
from beast.base.config_sources import admin_key
from beast.base.errors import BeastError
from beast.cluster.types import Parameters
from beast.engine.loop_lag import LoopLag
from beast.engine.presence import write_private
from beast.engine.runtime import Runtime
from beast.engine.telemetry import Telemetry
from beast.feeds.following import follow_rows, load_rows, products_of
from beast.feeds.manager import FeedManager
from beast.feeds.recording.tap import TappedEngine
from beast.feeds.rest.slow_tiers import SlowTiers
from beast.feeds.shadow.observer import Prices
from beast.feeds.simulator import Simulator
from beast.feeds.store import FeedStore
from beast.feeds.watch.watching import Watching
from beast.http.account_admin import AccountAdmin
from beast.http.app import price_server
from beast.http.exchange_admin import ExchangeAdmin
from beast.http.metrics import exposition
from beast.http.server import HttpServer
from beast.http.services import Services
from beast.insights.service import InsightService
from beast.prices.catalogue import Catalogue
from beast.prices.sweep import sweep
from beast.prices.tiers import Tiers
from beast.serving.keys import start_keys
from beast.serving.node import HealthPort, Node, probe
from beast.serving.recording import RecordTo, ServedRecording
from beast.serving.shadow import start_shadow
from beast.usage.admin import UsageAdmin
from beast.usage.folder import FolderQueue
from beast.usage.pipeline import Reports, UsagePipeline, rings_folder
from beast.usage.postgres import PostgresSink
from beast.usage.queues import queue_of
from beast.usage.sink import Sink
from beast.usage.sqs_sink import SqsSink

FIRST_PRICES_S = 20.0
"""How long readiness waits for the first prices before the server is ready without them."""
POLL_S = 0.02

log = structlog.get_logger(__name__)


class PriceSide:
    """Answers prices by UDP and HTTP.

    Args:
        node: The process it is part of.
        port: Its health port, which listens already.
        record: Where to record what the exchanges send; None: nowhere.
    """

    services: Services
    """What the routes answer from; there once `start` has returned."""

    def __init__(self, node: Node, port: HealthPort, *, record: RecordTo | None = None) -> None:
        self._node = node
        self._port = port
        self._health = port.health
        self._record = record
        self._drained_ns = 0
        """When all that was asked must have been answered, CLOCK_MONOTONIC; 0: nothing was asked yet."""

    # Start: in the order of what needs what. Stop: the node's stack unwound.

    async def start(self) -> None:
        """Opens the doors, once everything behind them is there."""
        node, config, clock = self._node, self._node.config, self._node.clock
        tasks, stack, database = node.tasks, node.stack, node.database
        engine = make_engine(config)
        usage = await self._start_usage(engine)
        keys = await start_keys(node, self._health, engine, usage)
        node.parameters.on_change(partial(steer, engine, keys))
        tap = self._start_recording(engine)
        catalogue = Catalogue(tap or engine, max_instruments=config.max_instruments, announce=usage.tell_names)
        feeds = await self._start_feeds(engine, catalogue, tap)
        slow = self._start_slow_tiers(engine, catalogue, feeds)
        watching = Watching(
            engine, catalogue, feeds, database, refresh=slow.tiers.refresh, node=config.node, clock=clock
        )
        watching.start(tasks, partial(self._health.degrade, "feed gaps"))
        stack.push_async_callback(watching.stop)
        exchanges = ExchangeAdmin(
            engine, catalogue, feeds, slow.rest, database, host=config.host, ports=node.ports, clock=clock
        )
        stack.push_async_callback(exchanges.stop)
        await start_shadow(node, Prices(engine, catalogue, feeds), self._health)
        lag = LoopLag()
        tasks.spawn("loop lag", lag.run())
        telemetry = Telemetry(engine, clock, loop_lag=lag, extra=database.counters)
        tasks.spawn("telemetry", telemetry.run())
        # Prices are answered from memory whatever happens to the database; that it is away must be seen.
        tasks.spawn("database probe", probe(database, partial(self._health.degrade, "database")))
        self.services = Services(
            engine=engine,
            catalogue=catalogue,
            feeds=feeds,
            health=self._health,
            clock=clock,
            node=config.node,
            region=config.region,
            version=node.version,
            home=str(config.home),
            started_ns=node.started_ns,
            ports=node.ports,
            telemetry=telemetry,
            usage_pending=lambda: usage.pending,
            usage=UsageAdmin(database, clock, queue_of(config)),
            tiers=slow.tiers,
            watching=watching,
            exchange_admin=exchanges,
            accounts=AccountAdmin(database, clock, usage, operator_key=admin_key(config)),
            insights=InsightService(database, config.node, clock),
        )
        await self._open_doors(slow.tiers)
        self._port.expose = partial(exposition, self.services)

    async def first_prices(self, stop: asyncio.Event) -> None:
        """Waits until the feeds have brought something, FIRST_PRICES_S at most and no longer than until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_PRICES_S):
                while not self.services.feeds.ready() and not stop.is_set():  # noqa: ASYNC110 - prices raise no event
                    await asyncio.sleep(POLL_S)

    async def _start_usage(self, engine: Engine) -> UsagePipeline:
        """Usage flows out before keys come in, what earlier servers have left first."""
        node, degrade = self._node, self._health.degrade

        def dead(reason: str) -> None:
            engine.count("usage_dead")
            degrade("usage dead letters", reason)

        usage = UsagePipeline(
            engine,
            node.database,
            await make_sink(node, dead),
            home=node.config.home,
            node=node.config.node,
            clock=node.clock,
            reports=Reports(
                spool=partial(degrade, "usage spool"),
                sink=partial(degrade, "usage"),
                letters=partial(degrade, "usage dead letters"),
            ),
        )
        node.parameters.on_change(usage.tune)
        await usage.start()
        node.stack.push_async_callback(usage.stop, node.config.drain_s)
        return usage

    def _start_recording(self, engine: Engine) -> TappedEngine | None:
        """From before the first row is loaded until after the last connection is closed."""
        node = self._node
        if self._record is None:
            return None
        recording = ServedRecording(
            self._record, engine, node.clock, version=node.version, max_instruments=node.config.max_instruments
        )
        node.stack.push_async_callback(recording.close)
        node.parameters.on_change(recording.steer)
        node.tasks.spawn("recording", recording.watch(partial(self._health.degrade, "recording")))
        return recording.tap

    async def _start_feeds(self, engine: Engine, catalogue: Catalogue, tap: TappedEngine | None) -> FeedManager:
        node = self._node
        store = FeedStore(node.database)
        rows, unreadable = await load_rows(store)
        urls: Callable[[str, str], str] | None = None
        if node.config.feeds == "sim":
            simulator = Simulator(seed=node.config.sim_seed, products=products_of(rows))
            await simulator.start()
            node.stack.push_async_callback(simulator.stop)
            urls = addresses(simulator)
        feeds = FeedManager(engine, catalogue, urls=urls, clock=node.clock, tap=tap)
        node.stack.push_async_callback(feeds.stop)
        node.parameters.on_change(lambda new: feeds.set_backfill(new.backfill_ms))
        await feeds.apply(rows, unreadable)
        node.tasks.spawn("price sweep", sweep(tap or engine, node.clock))
        node.tasks.spawn("exchange health", feeds.watch(self._health.degrade))
        follow = follow_rows(store, feeds, node.database, partial(self._health.degrade, "exchanges"))
        node.tasks.spawn("feed rows", follow)
        return feeds

    def _start_slow_tiers(self, engine: Engine, catalogue: Catalogue, feeds: FeedManager) -> SlowTiers:
        node = self._node
        slow = SlowTiers(
            engine,
            catalogue,
            feeds,
            FeedStore(node.database),
            redis_url=node.config.redis_url,
            clock=node.clock,
            report=partial(self._health.degrade, "valkey"),
        )
        slow.start(node.tasks)
        node.stack.push_async_callback(slow.close)
        node.parameters.on_change(slow.tune)
        return slow

    async def _open_doors(self, tiers: Tiers) -> None:
        """First the side that takes connections over, then the workers that give them away."""
        node, engine = self._node, self.services.engine
        http = price_server(self.services, admin_key(node.config), node.parameters)
        await http.start()
        node.stack.push_async_callback(self._stop_http, http)
        runtime = Runtime(engine, on_connection=http.adopt, on_miss=tiers.on_miss)
        node.parameters.on_change(lambda new: runtime.set_park_wait(new.park_wait_ms))
        try:
            runtime.start()
        except OSError as error:
            raise BeastError(f"can't listen: {error}", todo="choose other ports, or stop who has them") from error
        node.stack.push_async_callback(self._drain, runtime, tiers)
        node.ports.update(http=engine.http_port, udp=engine.udp_port)
        if engine.udp_buffer < node.config.udp_buffer:
            log.warning("app.small_udp_buffer", bytes=engine.udp_buffer, hint="raise net.core.rmem_max")

    async def _drain(self, runtime: Runtime, tiers: Tiers) -> None:
        """The workers answer what they have received."""
        self._drained_ns = self._node.clock.monotonic_ns() + round(self._node.config.drain_s * 1e9)
        await tiers.stop()
        try:
            await runtime.stop(self._left_s())
        except TimeoutError:
            log.exception("app.worker_did_not_leave")

    async def _stop_http(self, http: HttpServer) -> None:
        """What the workers have left of the time for both is for what they gave away."""
        await http.stop(self._left_s())

    def _left_s(self) -> float:
        left_ns = self._drained_ns - self._node.clock.monotonic_ns() if self._drained_ns else 0
        return max(left_ns / 1e9, 0.0)


async def make_sink(node: Node, dead: Callable[[str], None]) -> Sink:
    """Where usage goes, as the settings say."""
    queue = queue_of(node.config)
    if queue is None:
        return PostgresSink(node.database, node.clock, dead)
    if isinstance(queue, FolderQueue):
        return queue
    sink = SqsSink(queue, node.database, dead)
    node.parameters.on_change(sink.tune)
    await sink.open()
    return sink


def make_engine(config: Config) -> Engine:
    """The engine that these settings describe; its workers do not run yet."""
    return Engine(
        node=config.node,
        usage_dir=rings_folder(config.home),
        workers=config.workers,
        host=config.host,
        udp_port=config.udp_port,
        http_port=config.http_port,
        udp_buffer=config.udp_buffer,
        max_keys=config.max_keys,
        max_instruments=config.max_instruments,
        pin=config.pin,
        spin_us=config.spin_us,
        latency_sample=config.latency_sample,
        http_max_connections=config.http_max_connections,
    )


def steer(engine: Engine, keys: KeySync, parameters: Parameters) -> None:
    """Takes the parameters that concern the engine and its keys."""
    engine.set_ttl_ms(parameters.cache_ttl_ms)
    engine.set_live_without_link_ms(parameters.live_without_link_ms)
    engine.set_price_rules(
        band_bps=parameters.price_band_bps,
        confirmations=parameters.price_confirmations,
        quorum=parameters.consensus_quorum,
        outlier_bps=parameters.consensus_outlier_bps,
    )
    engine.set_source_per_second(parameters.source_per_second)
    engine.set_source_dry_run(parameters.source_dry_run)
    engine.set_source_exceptions(parameters.source_exceptions.split())
    engine.set_http_connections_per_source(parameters.http_connections_per_source)
    keys.reread_s = parameters.key_reread_s


async def demo_key(accounts: Accounts, store: AccountStore, home: Path) -> str:
    """The demo's key, of tier partner so that nothing limits a first try: the one kept in the home, or a new one."""
    path = home / "demo_api_key"
    kept = path.read_text("ascii").strip() if path.exists() else ""
    if kept and any(key.enabled for key in await store.find_keys(key_hash=key_digest(kept))):
        return kept
    made = await accounts.create_key("partner", label="demo")
    write_private(path, made.api_key.encode())
    return made.api_key


def addresses(simulator: Simulator) -> Callable[[str, str], str]:
    """Where to connect in place of an exchange's address; one that the simulator can't play keeps its own."""
    return lambda name, original: simulator.url(name, original) if name in simulator.exchanges else original
