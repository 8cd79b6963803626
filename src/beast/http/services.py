"""What the routes call: the running parts of the server, connected by the application."""

import os
from collections.abc import Callable

import msgspec

from beast._fast import Engine
from beast.base.clock import Clock
from beast.engine.telemetry import Telemetry
from beast.feeds.manager import ExchangeStatus, FeedManager
from beast.feeds.watch.watching import Watching
from beast.http.account_admin import AccountAdmin
from beast.http.exchange_admin import ExchangeAdmin
from beast.http.health import Health, HealthReport
from beast.insights.service import InsightService
from beast.prices.catalogue import Catalogue
from beast.prices.tiers import Tiers
from beast.usage.admin import UsageAdmin


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One server, at one moment."""

    node: str
    version: str
    pid: int
    home: str
    uptime_s: float
    ports: dict[str, int]
    health: HealthReport
    exchanges: list[ExchangeStatus]
    assets: int
    keys: int
    usage_pending: int
    counters: dict[str, int]


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the price port answers from."""

    engine: Engine
    catalogue: Catalogue
    feeds: FeedManager
    health: Health
    clock: Clock
    node: str
    region: str
    version: str
    home: str
    started_ns: int
    """CLOCK_MONOTONIC."""
    ports: dict[str, int]
    telemetry: Telemetry
    usage_pending: Callable[[], int]
    """Answers that are not yet with the accounts."""
    tiers: Tiers | None = None
    """What may know more than memory."""
    exchange_admin: ExchangeAdmin | None = None
    """What changes, audits and extends the exchanges."""

    usage: UsageAdmin | None = None
    """What answers operators about usage."""

    watching: Watching | None = None
    """What knows how the exchanges fare, and explains prices."""
    insights: InsightService | None = None
    """What the database can tell."""

    accounts: AccountAdmin | None = None
    """What keeps keys, users and tiers, and tells their usage."""

    def uptime_s(self) -> float:
        """Since the server was started."""
        return (self.clock.monotonic_ns() - self.started_ns) / 1e9

    def status(self) -> Status:
        """What `beast status` and GET /admin/status show."""
        return Status(
            node=self.node,
            version=self.version,
            pid=os.getpid(),
            home=self.home,
            uptime_s=self.uptime_s(),
            ports=self.ports,
            health=self.health.report(),
            exchanges=self.feeds.status(),
            assets=len(self.catalogue.assets()),
            keys=self.engine.key_count,
            usage_pending=self.usage_pending(),
            counters=self.telemetry.counters(),
        )
