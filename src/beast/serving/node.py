"""What every server has, whichever side it serves."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version

import msgspec

from beast.accounts.store import KEY_LOOKUP, KEY_TOUCH
from beast.base.clock import Clock
from beast.base.config import Config
from beast.base.tasks import Tasks
from beast.cluster.modes import Profiles
from beast.cluster.parameters import ParameterSync
from beast.cluster.store import PARAMETERS_LOAD
from beast.cluster.types import Parameters
from beast.http.health import Health, build_health_app
from beast.http.openmetrics import write
from beast.http.routes.telemetry import metrics_route
from beast.http.server import HttpServer
from beast.insights.rollup import Refresher
from beast.reports.store import COUNT_CHECK, COUNT_UPSERT
from beast.storage.database import Database, DatabaseUnavailableError

PROBE_S = 2.0
NAMED = (KEY_LOOKUP, KEY_TOUCH, PARAMETERS_LOAD, COUNT_CHECK, COUNT_UPSERT)
"""Statements that are asked so often that each connection has them prepared."""


async def nothing_yet() -> str:
    """What /metrics tells before there is anything to tell."""
    return write(())


class HealthPort:
    """What balancers and collectors ask, from before anything slow begins."""

    def __init__(self) -> None:
        self.health = Health()
        self.health.block("start", "the server is starting")
        self.expose: Callable[[], Awaitable[str]] = nothing_yet
        """What /metrics tells."""

    async def start(self, stack: AsyncExitStack, host: str, port: int) -> int:
        """Listens until the stack is unwound; returns the port."""
        server = HttpServer(build_health_app(self.health, metrics_route(self._expose)))
        stack.push_async_callback(server.stop, 1.0)
        await server.start((host, port))
        return server.port

    async def _expose(self) -> str:
        return await self.expose()


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One process: its settings, its database, and what ends with it."""

    config: Config
    clock: Clock
    tasks: Tasks
    stack: AsyncExitStack
    """Unwound, it stops what was started, the latest first."""
    database: Database
    parameters: ParameterSync
    ports: dict[str, int]
    """Where it listens, by the names of the ready file."""
    started_ns: int
    """CLOCK_MONOTONIC."""

    @property
    def version(self) -> str:
        """Of this Beast."""
        return version("trinity-beast")


async def follow_parameters(config: Config, database: Database, clock: Clock, tasks: Tasks) -> ParameterSync:
    """The application parameters, and what of them concerns every process: its log and its pool."""

    def apply(parameters: Parameters) -> None:
        level = config.log_level if parameters.log_level == "configured" else parameters.log_level
        logging.getLogger().setLevel(level.upper())
        tasks.spawn("pool size", database.resize(parameters.db_max_idle, parameters.db_max_open))

    sync = ParameterSync(database, clock)
    await sync.load()
    sync.on_change(apply)
    tasks.spawn("parameters", sync.run())
    tasks.spawn("profiles", Profiles(database, clock).seed())
    refresher = Refresher(database)
    sync.on_change(refresher.tune)
    tasks.spawn("daily rollup", refresher.run())
    return sync


async def probe(database: Database, tell: Callable[[str | None], None]) -> None:
    """Tells what is wrong with the database, or None while nothing is; runs until cancelled."""
    while True:
        try:
            async with database.connection():
                tell(None)
        except DatabaseUnavailableError as error:
            tell(str(error))
        await asyncio.sleep(PROBE_S)


async def suppressed(shown: Awaitable[None]) -> None:
    """A screen that is gone (a closed pipe) is no reason to stop serving."""
    with contextlib.suppress(OSError):
        await shown
