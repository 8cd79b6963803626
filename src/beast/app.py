"""Builds everything, connects it, and takes it down in the order that loses nothing. Nobody else does."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec
import structlog

from beast._fast import Engine
from beast.accounts.service import Accounts, key_digest
from beast.accounts.store import AccountStore
from beast.accounts.sync import KeySync
from beast.base.clock import Clock, SystemClock
from beast.base.config import Config
from beast.base.config_sources import admin_key
from beast.base.errors import BeastError
from beast.base.home import HomeLock
from beast.base.tasks import Tasks
from beast.cluster.modes import Profiles
from beast.cluster.parameters import ParameterSync
from beast.cluster.types import Parameters
from beast.engine.loop_lag import LoopLag
from beast.engine.machine import claim_port, client_host, raise_file_limit
from beast.engine.presence import Presence, presence_path, write_private
from beast.engine.runtime import Runtime
from beast.engine.telemetry import Telemetry
from beast.feeds.following import follow_rows, load_rows, products_of
from beast.feeds.manager import FeedManager
from beast.feeds.rest.slow_tiers import SlowTiers
from beast.feeds.simulator import Simulator
from beast.feeds.store import FeedStore
from beast.feeds.watch.watching import Watching
from beast.http.app import price_server
from beast.http.exchange_admin import ExchangeAdmin
from beast.http.health import Health, build_health_app
from beast.http.metrics import exposition
from beast.http.openmetrics import write
from beast.http.routes.telemetry import metrics_route
from beast.http.server import HttpServer
from beast.http.services import Services
from beast.prices.catalogue import Catalogue
from beast.prices.sweep import sweep
from beast.prices.tiers import Tiers
from beast.storage.database import Database, DatabaseUnavailableError
from beast.storage.opening import open_database
from beast.usage.drainer import Drainer

FIRST_PRICES_S = 20.0
"""How long readiness waits for the first prices before the server is ready without them."""
PROBE_S = 2.0
POLL_S = 0.02

log = structlog.get_logger(__name__)


class Options(msgspec.Struct, frozen=True):
    """What the command line says beside the configuration."""

    demo: bool = False
    ready_file: Path | None = None
    grace_s: float = 0.0
    """Seconds between telling balancers and taking no more requests."""


class Server:
    """One process that serves prices.

    Args:
        config: The effective settings.
        options: What else was asked for.
        clock: The time.
    """

    services: Services
    """What the routes answer from; there once the server is ready."""
    presence: Presence
    """What clients are told; there once the server is ready."""

    def __init__(self, config: Config, options: Options | None = None, *, clock: Clock | None = None) -> None:
        self.config = config
        self.options = options or Options()
        self.clock = clock or SystemClock()
        self.health = Health()
        self._tasks = Tasks()
        self._stop = asyncio.Event()
        self._started_ns = self.clock.monotonic_ns()
        self._metrics: Callable[[], Awaitable[str]] = nothing_yet

    async def run(self, show: Callable[["Server"], Awaitable[None]] | None = None) -> None:
        """Starts, serves until SIGINT, SIGTERM or SIGHUP, drains and returns; a second signal ends the process at once.

        Args:
            show: Runs while the server is ready.

        Raises:
            BeastError: it can't start, or can't go on.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            # Not under nohup. A closed terminal may tell more than once, the kernel and then the shell.
            loop.add_signal_handler(signal.SIGHUP, self._stop.set)
        raise_file_limit()
        with HomeLock(self.config.home):
            async with AsyncExitStack() as stack:
                await self._start(stack)
                await self._serve(show)

    def _on_signal(self, number: int) -> None:
        if self._stop.is_set():
            os._exit(128 + number)
        self._stop.set()

    # Start: in the order of what needs what. Stop: the stack unwound, see _serve.

    async def _start(self, stack: AsyncExitStack) -> None:
        config = self.config
        for kind, port in (("http", config.http_port), ("health", config.health_port), ("udp", config.udp_port)):
            claim_port(kind, config.host, port)
        ports = {"health": await self._start_health(stack)}
        database = await stack.enter_async_context(open_database(config))
        stack.push_async_callback(self._tasks.cancel)
        engine = self._make_engine()
        accounts = Accounts(database, self.clock)
        drainer = Drainer(engine, accounts.add_usage, partial(self.health.degrade, "usage"))
        keys = KeySync(engine, drainer, database, self.clock)
        parameters = await self._start_parameters(engine, keys, database)
        parameters.on_change(drainer.tune)
        drainer.start()
        stack.push_async_callback(drainer.stop)
        self._tasks.spawn("keys", keys.run())
        await self._unless_failed(keys.loaded())
        catalogue = Catalogue(engine, max_instruments=config.max_instruments)
        feeds = await self._start_feeds(stack, engine, catalogue, database, parameters)
        slow = self._start_slow_tiers(stack, engine, catalogue, feeds, FeedStore(database))
        parameters.on_change(slow.tune)
        watching = Watching(
            engine, catalogue, feeds, database, refresh=slow.tiers.refresh, node=config.node, clock=self.clock
        )
        watching.start(self._tasks, partial(self.health.degrade, "feed gaps"))
        stack.push_async_callback(watching.stop)
        exchanges = ExchangeAdmin(
            engine, catalogue, feeds, slow.rest, database, host=config.host, ports=ports, clock=self.clock
        )
        stack.push_async_callback(exchanges.stop)
        lag = LoopLag()
        self._tasks.spawn("loop lag", lag.run())
        telemetry = Telemetry(engine, self.clock, loop_lag=lag, extra=database.counters)
        self._tasks.spawn("telemetry", telemetry.run())
        self._tasks.spawn("database probe", self._probe(database))
        services = Services(
            engine=engine,
            catalogue=catalogue,
            feeds=feeds,
            health=self.health,
            clock=self.clock,
            node=config.node,
            region=config.region,
            version=version("trinity-beast"),
            home=str(config.home),
            started_ns=self._started_ns,
            ports=ports,
            telemetry=telemetry,
            usage_pending=lambda: drainer.pending,
            tiers=slow.tiers,
            watching=watching,
            exchange_admin=exchanges,
        )
        await self._start_serving(stack, services, parameters)
        self.services = services
        self._metrics = partial(exposition, services)
        key = await demo_key(accounts, AccountStore(database), config.home) if self.options.demo else ""
        await self._become_ready(stack, services, key)

    async def _start_health(self, stack: AsyncExitStack) -> int:
        """Listens for balancers before anything slow begins; returns the port."""
        self.health.block("start", "the server is starting")
        server = HttpServer(build_health_app(self.health, metrics_route(self._expose)))
        stack.push_async_callback(server.stop, 1.0)
        await server.start((self.config.host, self.config.health_port))
        return server.port

    async def _expose(self) -> str:
        """What /metrics tells at this moment."""
        return await self._metrics()

    def _make_engine(self) -> Engine:
        config = self.config
        return Engine(
            node=config.node,
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

    async def _start_parameters(self, engine: Engine, keys: KeySync, database: Database) -> ParameterSync:
        def apply(parameters: Parameters) -> None:
            engine.set_ttl_ms(parameters.cache_ttl_ms)
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
            level = self.config.log_level if parameters.log_level == "configured" else parameters.log_level
            logging.getLogger().setLevel(level.upper())
            self._tasks.spawn("pool size", database.resize(parameters.db_max_idle, parameters.db_max_open))

        sync = ParameterSync(database, self.clock)
        await sync.load()
        sync.on_change(apply)
        self._tasks.spawn("parameters", sync.run())
        self._tasks.spawn("profiles", Profiles(database, self.clock).seed())
        return sync

    async def _start_feeds(
        self,
        stack: AsyncExitStack,
        engine: Engine,
        catalogue: Catalogue,
        database: Database,
        parameters: ParameterSync,
    ) -> FeedManager:
        store = FeedStore(database)
        rows, unreadable = await load_rows(store)
        urls: Callable[[str, str], str] | None = None
        if self.config.feeds == "sim":
            simulator = Simulator(seed=self.config.sim_seed, products=products_of(rows))
            await simulator.start()
            stack.push_async_callback(simulator.stop)
            urls = addresses(simulator)
        feeds = FeedManager(engine, catalogue, urls=urls, clock=self.clock)
        stack.push_async_callback(feeds.stop)
        parameters.on_change(lambda new: feeds.set_backfill(new.backfill_ms))
        await feeds.apply(rows, unreadable)
        self._tasks.spawn("price sweep", sweep(engine, self.clock))
        self._tasks.spawn("exchange health", feeds.watch(self.health.degrade))
        self._tasks.spawn("feed rows", follow_rows(store, feeds, database, partial(self.health.degrade, "exchanges")))
        return feeds

    def _start_slow_tiers(
        self, stack: AsyncExitStack, engine: Engine, catalogue: Catalogue, feeds: FeedManager, store: FeedStore
    ) -> SlowTiers:
        slow = SlowTiers(
            engine,
            catalogue,
            feeds,
            store,
            redis_url=self.config.redis_url,
            clock=self.clock,
            report=partial(self.health.degrade, "valkey"),
        )
        slow.start(self._tasks)
        stack.push_async_callback(slow.close)
        return slow

    async def _start_serving(self, stack: AsyncExitStack, services: Services, parameters: ParameterSync) -> None:
        """Opens the doors: first the side that takes connections over, then the workers that give them away."""
        engine = services.engine
        http = price_server(services, admin_key(self.config), parameters)
        await http.start()
        stack.push_async_callback(http.stop, self.config.drain_s)
        assert services.tiers is not None, "every server has them"
        runtime = Runtime(engine, on_connection=http.adopt, on_miss=services.tiers.on_miss)
        parameters.on_change(lambda new: runtime.set_park_wait(new.park_wait_ms))
        try:
            runtime.start()
        except OSError as error:
            raise BeastError(f"can't listen: {error}", todo="choose other ports, or stop who has them") from error
        stack.push_async_callback(self._drain, runtime, services.tiers)
        services.ports.update(http=engine.http_port, udp=engine.udp_port)
        if engine.udp_buffer < self.config.udp_buffer:
            log.warning("app.small_udp_buffer", bytes=engine.udp_buffer, hint="raise net.core.rmem_max")

    async def _become_ready(self, stack: AsyncExitStack, services: Services, key: str) -> None:
        """Waits for the first prices, then says so everywhere."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_PRICES_S):
                while not services.feeds.ready() and not self._stop.is_set():  # noqa: ASYNC110 - prices raise no event
                    await asyncio.sleep(POLL_S)
        self.presence = Presence(
            pid=os.getpid(),
            ports=services.ports,
            node=services.node,
            version=services.version,
            home=services.home,
            host=client_host(self.config.host),
            demo_api_key=key,
            admin_key=admin_key(self.config),
        )
        left = presence_path(self.config.home)
        stack.callback(left.unlink, missing_ok=True)
        self.presence.write(left)
        self.health.unblock("start")
        log.info("app.ready", ports=services.ports, node=services.node, home=services.home)
        if self.options.ready_file is not None:
            shown = self.presence if self.options.demo else msgspec.structs.replace(self.presence, admin_key="")
            shown.write(self.options.ready_file)

    # Run and stop

    async def _serve(self, show: Callable[["Server"], Awaitable[None]] | None) -> None:
        """Until told to stop. Then, as the stack unwinds: workers, ASGI side, feeds, usage, database."""
        screen = Tasks()
        if show is not None:
            screen.spawn("screen", suppressed(show(self)))
        try:
            try:
                await self._unless_failed(self._stop.wait())
            except Exception as error:  # noqa: BLE001 - whatever it is: prices are answered from memory all the same
                self.health.degrade("background", repr(error))
                await self._stop.wait()
        finally:
            await screen.cancel()
            self.health.block("stop", "the server is stopping")
            log.info("app.stopping")

    async def _drain(self, runtime: Runtime, tiers: Tiers) -> None:
        """Balancers have time to notice, then the workers answer what they have received."""
        await asyncio.sleep(self.options.grace_s)
        await tiers.stop()
        try:
            await runtime.stop(self.config.drain_s)
        except TimeoutError:
            log.exception("app.worker_did_not_leave")

    async def _unless_failed(self, waited: Awaitable[object]) -> None:
        """Waits, but no longer than everything in the background is well."""
        failed = asyncio.ensure_future(self._tasks.failed())
        wanted = asyncio.ensure_future(waited)
        try:
            await asyncio.wait({failed, wanted}, return_when=asyncio.FIRST_COMPLETED)
            for task in (wanted, failed):
                if task.done():
                    await task
                    break
        finally:
            failed.cancel()
            wanted.cancel()

    async def _probe(self, database: Database) -> None:
        """Prices are answered from memory whatever happens to the database; that it is away must be seen."""
        while True:
            try:
                async with database.connection():
                    self.health.degrade("database", None)
            except DatabaseUnavailableError as error:
                self.health.degrade("database", str(error))
            await asyncio.sleep(PROBE_S)


async def nothing_yet() -> str:
    """What /metrics tells before there is anything to tell."""
    return write(())


async def demo_key(accounts: Accounts, store: AccountStore, home: Path) -> str:
    """The demo's key, of tier partner so that nothing limits a first try: the one kept in the home, or a new one."""
    path = home / "demo_api_key"
    kept = path.read_text("ascii").strip() if path.exists() else ""
    if kept and any(key.enabled for key in await store.find_keys(key_hash=key_digest(kept))):
        return kept
    made = await accounts.create_key("partner", label="demo")
    write_private(path, made.api_key.encode())
    return made.api_key


async def suppressed(shown: Awaitable[None]) -> None:
    """A screen that is gone (a closed pipe) is no reason to stop serving."""
    with contextlib.suppress(OSError):
        await shown


def addresses(simulator: Simulator) -> Callable[[str, str], str]:
    """Where to connect in place of an exchange's address; one that the simulator can't play keeps its own."""
    return lambda name, original: simulator.url(name, original) if name in simulator.exchanges else original
