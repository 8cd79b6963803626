"""Builds everything, connects it, and takes it down in the order that loses nothing. Nobody else does."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import structlog

from beast.accounts.service import Accounts
from beast.accounts.store import AccountStore
from beast.base.clock import Clock, SystemClock
from beast.base.config import Config
from beast.base.config_sources import admin_key
from beast.base.home import HomeLock
from beast.base.tasks import Tasks
from beast.engine.machine import claim_port, client_host, raise_file_limit
from beast.engine.presence import Presence, presence_path
from beast.serving.node import NAMED, HealthPort, Node, follow_parameters, suppressed
from beast.serving.prices import PriceSide, demo_key
from beast.serving.recording import RecordTo
from beast.serving.reports import ReportSide
from beast.storage.opening import open_database

PRICES = frozenset({"APP_SERVER", "APP_REPORT_SERVER"})
"""Modes that serve prices."""
REPORTS = frozenset({"REPORT_SERVER", "APP_REPORT_SERVER"})
"""Modes that serve reports."""
PRICE_PORTS = ("http", "health", "udp")
REPORT_PORTS = ("report_http", "report_health", "report_udp")

log = structlog.get_logger(__name__)


class Options(msgspec.Struct, frozen=True):
    """What the command line says beside the configuration."""

    demo: bool = False
    ready_file: Path | None = None
    grace_s: float = 0.0
    """Seconds between telling balancers and taking no more requests."""
    record: RecordTo | None = None
    """Where to record what the exchanges send."""


class Server:
    """One process that serves prices, reports or both: SERVER_TYPE says.

    Args:
        config: The effective settings.
        options: What else was asked for.
        clock: The time.
    """

    prices: PriceSide | None = None
    """There once the server is ready, in the modes that serve prices."""
    presence: Presence
    """What clients are told; there once the server is ready."""

    def __init__(self, config: Config, options: Options | None = None, *, clock: Clock | None = None) -> None:
        self.config = config
        self.options = options or Options()
        self.clock = clock or SystemClock()
        self._health = {name: HealthPort() for name in ports_of(config) if name.endswith("health")}
        self._tasks = Tasks()
        self._stop = asyncio.Event()
        self._started_ns = self.clock.monotonic_ns()

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

    async def _start(self, stack: AsyncExitStack) -> None:
        config = self.config
        for name in ports_of(config):
            claim_port(name.replace("_", "-"), config.host, getattr(config, f"{name}_port"))
        # Told to balancers before anything slow begins.
        ports = {
            name: await port.start(stack, config.host, getattr(config, f"{name}_port"))
            for name, port in self._health.items()
        }
        database = await stack.enter_async_context(open_database(config, named=NAMED))
        stack.push_async_callback(self._tasks.cancel)
        node = Node(
            config=config,
            clock=self.clock,
            tasks=self._tasks,
            stack=stack,
            database=database,
            parameters=await follow_parameters(config, database, self.clock, self._tasks),
            ports=ports,
            started_ns=self._started_ns,
        )
        reports = ReportSide(node, self._health["report_health"]) if config.server_type in REPORTS else None
        if reports is not None:
            # They stop beside the prices, and both have `drain_s` at once.
            stack.push_async_callback(reports.stopped)
        if config.server_type in PRICES:
            self.prices = PriceSide(node, self._health["health"], record=self.options.record)
            await self.prices.start()
        if reports is not None:
            reports.count_too = self.prices.services.engine.count if self.prices else None
            await reports.start()
        stack.push_async_callback(self._begin_stop, reports)
        await self._become_ready(node)

    async def _begin_stop(self, reports: ReportSide | None) -> None:
        """The first thing of the end: balancers have time to notice, then the doors close."""
        await asyncio.sleep(self.options.grace_s)
        if reports is not None:
            reports.begin_stop()

    async def _become_ready(self, node: Node) -> None:
        """Waits for the first prices, then says so everywhere."""
        accounts = Accounts(node.database, self.clock)
        key = await demo_key(accounts, AccountStore(node.database), self.config.home) if self.options.demo else ""
        if self.prices is not None:
            await self.prices.first_prices(self._stop)
        # What was made so far stays: looking through it again and again would hold the loop for some 30 ms each time.
        gc.collect()
        gc.freeze()
        self.presence = Presence(
            pid=os.getpid(),
            ports=node.ports,
            node=self.config.node,
            version=node.version,
            home=str(self.config.home),
            host=client_host(self.config.host),
            demo_api_key=key,
            admin_key=admin_key(self.config),
        )
        left = presence_path(self.config.home)
        node.stack.callback(left.unlink, missing_ok=True)
        self.presence.write(left)
        for port in self._health.values():
            port.health.unblock("start")
        log.info("app.ready", ports=node.ports, node=self.config.node, home=self.presence.home)
        if self.options.ready_file is not None:
            shown = self.presence if self.options.demo else msgspec.structs.replace(self.presence, admin_key="")
            shown.write(self.options.ready_file)

    async def _serve(self, show: Callable[["Server"], Awaitable[None]] | None) -> None:
        """Until told to stop. Then, as the stack unwinds: reports, workers, ASGI side, feeds, usage, database."""
        screen = Tasks()
        if show is not None:
            screen.spawn("screen", suppressed(show(self)))
        try:
            try:
                await self._tasks.unless_failed(self._stop.wait())
            except Exception as error:  # noqa: BLE001 - whatever it is: prices are answered from memory all the same
                for port in self._health.values():
                    port.health.degrade("background", repr(error))
                await self._stop.wait()
        finally:
            await screen.cancel()
            for port in self._health.values():
                port.health.block("stop", "the server is stopping")
            log.info("app.stopping")


def ports_of(config: Config) -> tuple[str, ...]:
    """The ports that this mode listens on, by the names of the ready file."""
    prices = PRICE_PORTS if config.server_type in PRICES else ()
    return prices + (REPORT_PORTS if config.server_type in REPORTS else ())
