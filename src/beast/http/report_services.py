"""What the routes of the report port call."""

import os
from collections.abc import Callable

import msgspec

from beast.accounts.audit import Trail
from beast.base.clock import Clock
from beast.http.health import Health, HealthReport
from beast.reports.service import Reports
from beast.reports.sources import Sources


class ReportStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One server of reports, at one moment."""

    node: str
    version: str
    pid: int
    home: str
    uptime_s: float
    ports: dict[str, int]
    health: HealthReport
    requests: int
    """By HTTP and UDP, since it was started."""
    reports: int
    """Being made now."""
    database: dict[str, int]
    """`db_open_conns` and `db_in_use_conns` now, `db_wait_count` since the start."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Which server it is."""

    node: str
    version: str
    home: str
    ports: dict[str, int]
    started_ns: int
    """CLOCK_MONOTONIC."""
    health: Health
    requests: Callable[[], int]
    database: Callable[[], dict[str, int]]


class ReportServices(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the report port answers from."""

    reports: Reports
    sources: Sources
    clock: Clock
    trail: Trail
    """Where changes are written down."""
    count: Callable[[str], None]
    """Counts one of the counters."""
    about: About

    def status(self) -> ReportStatus:
        """What `beast status` and GET /admin/status show."""
        about = self.about
        return ReportStatus(
            node=about.node,
            version=about.version,
            pid=os.getpid(),
            home=about.home,
            uptime_s=(self.clock.monotonic_ns() - about.started_ns) / 1e9,
            ports=about.ports,
            health=about.health.report(),
            requests=about.requests(),
            reports=self.reports.turns.taken,
            database=about.database(),
        )
