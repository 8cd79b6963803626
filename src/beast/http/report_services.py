"""What the routes of the report port call."""

from collections.abc import Callable

import msgspec

from beast.accounts.audit import Trail
from beast.base.clock import Clock
from beast.reports.service import Reports
from beast.reports.sources import Sources


class ReportServices(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the report port answers from."""

    reports: Reports
    sources: Sources
    clock: Clock
    trail: Trail
    """Where changes are written down."""
    count: Callable[[str], None]
    """Counts one of the counters."""
