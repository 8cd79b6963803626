"""The report side: what was answered, told by HTTP and in datagrams."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from beast.accounts.audit import Trail
from beast.base.config_sources import admin_key
from beast.cluster.types import Parameters
from beast.http.openmetrics import Family, write
from beast.http.report_app import report_server
from beast.http.report_services import ReportServices
from beast.reports.service import Reports
from beast.reports.sources import Sources
from beast.reports.udp import ReportDatagrams
from beast.serving.node import HealthPort, Node, probe


class ReportSide:
    """Answers report requests. Without a database there is nothing to tell: then it is not ready.

    Args:
        node: The process it is part of.
        port: Its health port, which listens already.
        count: Counts one of the counters by name, when the process has those of an engine.
    """

    def __init__(self, node: Node, port: HealthPort, *, count: Callable[[str], None] | None) -> None:
        self._node = node
        self._port = port
        self._counters: Counter[str] = Counter()
        self._count_too = count

    async def start(self) -> None:
        """Opens both doors."""
        node, config = self._node, self._node.config
        reports = Reports(node.database, node.clock, node.tasks, node=config.node)
        sources = Sources(node.clock, Parameters().source_per_second)
        trail = Trail(node.database, node.clock)
        services = ReportServices(reports=reports, sources=sources, clock=node.clock, trail=trail, count=self._count)
        datagrams = ReportDatagrams(reports, sources, node.clock, node=config.node, count=self._count)
        node.parameters.on_change(reports.tune)
        node.parameters.on_change(lambda new: sources.tune(new.source_per_second, new.source_exceptions))
        server = report_server(services, admin_key(config), node.parameters)
        node.stack.push_async_callback(server.stop, config.drain_s)
        await server.start((config.host, config.report_http_port))
        node.stack.push_async_callback(datagrams.stop)
        udp_port = await datagrams.start(config.host, config.report_udp_port)
        node.ports.update(report_http=server.port, report_udp=udp_port)
        node.tasks.spawn("report database probe", probe(node.database, self._told))
        self._port.expose = partial(self._expose, reports)

    def _count(self, name: str) -> None:
        self._counters[name] += 1
        if self._count_too is not None:
            self._count_too(name)

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
