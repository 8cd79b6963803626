"""GET /exchanges and GET /assets: the public lists."""

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from beast.http.services import Services
from beast.prices.types import Asset


class ListedExchange(msgspec.Struct, frozen=True):
    """One exchange that prices come from."""

    name: str
    display_name: str
    priority: int
    assets: int
    connected: bool
    last_frame_age_ms: int | None


class Exchanges(msgspec.Struct):
    """The answer of GET /exchanges."""

    exchanges: list[ListedExchange]


class Assets(msgspec.Struct):
    """The answer of GET /assets."""

    assets: list[Asset]


@get("/exchanges", summary="The exchanges that prices come from", security=[{}])
async def get_exchanges(services: NamedDependency[SkipValidation[Services]]) -> Exchanges:
    """All exchanges that are being priced, in the order in which they are asked. Public."""
    status = {each.name: each for each in services.feeds.status()}
    listed = [
        ListedExchange(
            name=each.name,
            display_name=each.display_name,
            priority=each.priority,
            assets=each.assets,
            connected=each.name in status and status[each.name].connected,
            last_frame_age_ms=status[each.name].last_frame_age_ms if each.name in status else None,
        )
        for each in services.catalogue.exchanges()
    ]
    return Exchanges(sorted(listed, key=lambda each: (each.priority, each.name)))


@get("/assets", summary="The assets that a price is kept of", security=[{}])
async def get_assets(services: NamedDependency[SkipValidation[Services]]) -> Assets:
    """All assets, each with its markets in the order in which they are asked. Public."""
    return Assets(services.catalogue.assets())


ROUTES = [get_exchanges, get_assets]
