"""The report side: what was answered, told by HTTP and in datagrams."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from beast.accounts.audit import Trail
from beast.base.config_sources import admin_key
from beast.cluster.types import Parameters
from beast.http.openmetrics import Family, write
from beast.http.report_app import report_server
from beast.http.report_services import About, ReportServices
from beast.reports.service import Reports
from beast.reports.sources import Sources
from beast.reports.udp import ReportDatagrams
from beast.serving.node import HealthPort, Node, probe

if TYPE_CHECKING:
    from beast.http.server import HttpServer


class ReportSide:
    """Answers report requests. Without a database there is nothing to tell: then it is not ready.

    Args:
        node: The process it is part of.
        port: Its health port, which listens already.
    """

    count_too: Callable[[str], None] | None = None
    """Counts one of the counters by name, where the process has those of an engine."""

    def __init__(self, node: Node, port: HealthPort) -> None:
        self._node = node
        self._port = port
        self._counters: Counter[str] = Counter()
        self._server: HttpServer | None = None
        self._datagrams: ReportDatagrams | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Opens both doors."""
        node, config = self._node, self._node.config
        reports = Reports(node.database, node.clock, node.tasks, node=config.node)
        sources = Sources(node.clock, Parameters().source_per_second)
        trail = Trail(node.database, node.clock)
        about = About(
            node=config.node,
            version=node.version,
            home=str(config.home),
            ports=node.ports,
            started_ns=node.started_ns,
            health=self._port.health,
            requests=lambda: self._counters["lrs_requests"],
            database=node.database.counters,
        )
        services = ReportServices(
            reports=reports, sources=sources, clock=node.clock, trail=trail, count=self._count, about=about
        )
        self._datagrams = ReportDatagrams(reports, sources, node.clock, node=config.node, count=self._count)
        node.parameters.on_change(reports.tune)
        node.parameters.on_change(lambda new: sources.tune(new.source_per_second, new.source_exceptions))
        self._server = report_server(services, admin_key(config), node.parameters)
        await self._server.start((config.host, config.report_http_port))
        udp_port = await self._datagrams.start(config.host, config.report_udp_port)
        node.ports.update(report_http=self._server.port, report_udp=udp_port)
        node.tasks.spawn("report database probe", probe(node.database, self._told))
        self._port.expose = partial(self._expose, reports)

    def begin_stop(self) -> None:
        """Closes both doors and finishes what is under way, beside whatever else stops meanwhile."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name="stop reports")

    async def stopped(self) -> None:
        """Stops, if that has not begun, and waits for its end."""
        self.begin_stop()
        assert self._stopping is not None, "begun"
        await self._stopping

    async def _stop(self) -> None:
        if self._datagrams is not None:
            await self._datagrams.stop()
        if self._server is not None:
            await self._server.stop(self._node.config.drain_s)

    def _count(self, name: str) -> None:
        self._counters[name] += 1
        if self.count_too is not None:
            self.count_too(name)

    def _told(self, reason: str | None) -> None:
        if reason is None:
            self._port.health.unblock("database")
        else:
            self._port.health.block("database", reason)

    async def _expose(self, reports: Reports) -> str:
        return write(self._families(reports))

    def _families(self, reports: Reports) -> Iterator[Family]:
        node = self._node
        build = {"version": node.version, "node": node.config.node, "region": node.config.region}
        uptime_s = (node.clock.monotonic_ns() - node.started_ns) / 1e9
        requests: list[tuple[dict[str, str], int]] = [({}, self._counters["lrs_requests"])]
        yield Family("beast_build", "info", "Which server this is", [(build, 1)])
        yield Family("beast_uptime_seconds", "gauge", "Since the server was started", [({}, uptime_s)])
        yield Family(
            "beast_ready", "gauge", "Whether requests should be sent here", [({}, int(self._port.health.ready))]
        )
        yield Family("beast_lrs_requests", "counter", "Report requests", requests)
        yield Family("beast_reports_under_way", "gauge", "Reports being made", [({}, reports.turns.taken)])
