"""Everything under /admin/. The router's guard asks for the operator's key; a route never does."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from beast.http.services import Services, Status


@get("/status", summary="The server's state: ports, health, exchanges, counters")
async def get_status(services: NamedDependency[SkipValidation[Services]]) -> Status:
    """What `beast status` shows."""
    return services.status()


ROUTES = [get_status]
