"""GET /admin/why: why an asset's price is what it is."""

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, SkipValidation

from beast.feeds.watch.why import UnknownAssetError
from beast.http.errors import JSON
from beast.http.services import Services


class UnknownAsset(msgspec.Struct):
    """The answer for a name that nobody knows."""

    near: list[str]
    error: str = "unknown_asset"
    message: str = "no price is kept for this asset"


@get("/why", summary="Why an asset's price is what it is: every source, and which one answers")
async def get_why(services: NamedDependency[SkipValidation[Services]], asset: FromQuery[str]) -> Response[bytes]:
    """What `beast why` shows."""
    assert services.watching is not None, "every server has it"
    try:
        found = await services.watching.explainer.explain(asset.upper())
    except UnknownAssetError as error:
        return Response(msgspec.json.encode(UnknownAsset(error.near)), status_code=404, media_type=JSON)
    return Response(msgspec.json.encode(found), media_type=JSON)


ROUTES = [get_why]
