"""GET /admin/feeds/health: how every connection and every symbol fares, and why."""

import asyncio
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter, SkipValidation

from beast.feeds.watch.health import ConnectionHealth, SymbolHealth
from beast.feeds.watch.verdict import State
from beast.http.errors import JSON
from beast.http.services import Services


class FeedsReport(msgspec.Struct):
    """The answer of GET /admin/feeds/health."""

    connections: list[ConnectionHealth]
    symbols: list[SymbolHealth]
    gaps_waiting: int
    """Gaps that are not yet with the database."""
    gaps_lost: int
    """Gaps that found no room while it was away."""


@get("/feeds/health", summary="Every connection and symbol: state, rhythm, gaps, reconnects, why")
async def get_feeds_health(
    services: NamedDependency[SkipValidation[Services]],
    exchange: FromQuery[str | None] = None,
    asset: FromQuery[str | None] = None,
    in_state: Annotated[State | None, QueryParameter(name="state")] = None,
) -> Response[bytes]:
    """What `beast feeds health` shows; of one exchange, one asset, or symbols in one state only, when given."""
    assert services.watching is not None, "every server has it"
    health = services.watching.health
    connections, symbols = [], bytearray()
    async for connection, found in health.read(exchange, asset.upper() if asset else None):
        connections.append(connection)
        for start in range(0, len(found), 200):
            chosen = [each for each in found[start : start + 200] if in_state in {None, each.state}]
            symbols += b"".join(b"," + msgspec.json.encode(each) for each in chosen)
            await asyncio.sleep(0)
    report = FeedsReport(connections, [], health.gaps_waiting, health.gaps_lost)
    body = msgspec.json.encode(report).replace(b'"symbols":[]', b'"symbols":[' + bytes(symbols[1:]) + b"]", 1)
    return Response(body, media_type=JSON)


ROUTES = [get_feeds_health]
