"""The exchange admin: the rows of exchanges and their assets. docs/exchange_admin.md says how they are used."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromQuery, SkipValidation
from msgspec import Meta

from beast.feeds.admin.rows import BATCH_MAX, AssetBatch, AssetRow, fault_of
from beast.feeds.admin.store import FeedSwitch, SavedAssets
from beast.feeds.manager import ExchangeStatus
from beast.http.audit import audit, note
from beast.http.errors import BAD_BODY, JSON, NO_ADMIN, NO_ASSET, NO_EXCHANGE, Fault, FaultError
from beast.http.exchange_admin import ExchangeAdmin
from beast.http.schema import FaultyColumns, FaultyRows, PriceError
from beast.http.services import Services

AnyRequest = Request[Any, Any, Any]
TheServices = NamedDependency[SkipValidation[Services]]
Body = TypeVar("Body")

FEED_BODY_MAX = 64 << 10
"""Bytes of one row: what is read at once holds the loop."""
ExchangeName = Annotated[str, Meta(pattern="^[a-z0-9_-]{1,16}$")]
AssetName = Annotated[str, Meta(pattern="^[A-Z0-9._-]{1,20}$")]


class ListedFeed(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange's row and what it is doing."""

    feed: dict[str, Any]
    """All columns."""
    updated_at: datetime
    assets: int
    enabled_assets: int
    prewarmed_assets: int
    fault: str = ""
    """Why the row can't be used; empty: it can."""
    status: ExchangeStatus | None = None
    """Of its connections on this node; null: it doesn't run."""


class Feeds(msgspec.Struct, frozen=True):
    """The answer of GET /admin/exchange-feeds."""

    feeds: list[ListedFeed]


class SavedFeed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of POST /admin/exchange-feeds/save."""

    added: bool
    feed: dict[str, Any]


class FeedToggle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Switches an exchange on or off; without `enabled`: over."""

    name: ExchangeName
    enabled: bool | None = None


class Assets(msgspec.Struct, frozen=True):
    """The answer of GET /admin/exchange-assets."""

    assets: list[AssetRow]


class AssetToggle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes one row, told by `id` or by `exchange` and `asset`; without `enabled` and `prewarm`: switches it over."""

    id: Annotated[int, Meta(ge=1, lt=1 << 31)] | None = None
    exchange: ExchangeName | None = None
    asset: AssetName | None = None
    enabled: bool | None = None
    prewarm: bool | None = None

    def __post_init__(self) -> None:
        """One way to tell the row, and one only."""
        by_name = self.exchange is not None and self.asset is not None
        if by_name == (self.id is not None) or (self.exchange is None) != (self.asset is None):
            raise ValueError("tell the row by id, or by exchange and asset")


class AssetsToSave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch of rows, stored all or none."""

    assets: list[msgspec.Raw]
    exchange: str = ""
    """Of all rows that don't name theirs."""


def refusals(*others: int, faults: type[Any] = PriceError) -> dict[int, ResponseSpec]:
    """The errors of an admin route, for its description."""
    reasons = {404: "unknown_exchange, not_found", 409: "busy"}
    return {
        400: ResponseSpec(faults, description="bad_request", generate_examples=False),
        401: ResponseSpec(PriceError, description="unauthorized", generate_examples=False),
        503: ResponseSpec(PriceError, description="unavailable: the database is away", generate_examples=False),
        **{n: ResponseSpec(PriceError, description=reasons[n], generate_examples=False) for n in others},
    }


def described(schema: Schema) -> type[Operation]:
    """An operation whose body is read by our own rules, with what that body holds."""

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content={JSON: OpenAPIMediaType(schema=schema)}, required=True)

    return Described


def of_properties(required: list[str], **properties: Schema) -> Schema:
    """An object's schema."""
    return Schema(type=OpenAPIType.OBJECT, properties=dict(properties), required=required)


TEXT, BOOLEAN, INTEGER = (Schema(type=kind) for kind in (OpenAPIType.STRING, OpenAPIType.BOOLEAN, OpenAPIType.INTEGER))
OBJECT = Schema(type=OpenAPIType.OBJECT)
ASSET = of_properties(
    ["asset"],
    exchange=TEXT,
    asset=TEXT,
    symbol=TEXT,
    wire_symbol=TEXT,
    currency=TEXT,
    enabled=BOOLEAN,
    prewarm=BOOLEAN,
    category=TEXT,
    band_bps=INTEGER,
)
ROWS = Schema(type=OpenAPIType.ARRAY, items=ASSET, min_items=1, max_items=BATCH_MAX)


def admin_of(services: Services) -> ExchangeAdmin:
    """The running part behind these routes. Raises FaultError when this server has none."""
    if services.exchange_admin is None:
        raise FaultError(NO_ADMIN)
    return services.exchange_admin


async def read_body(request: AnyRequest, body_type: type[Body], limit: int = FEED_BODY_MAX) -> Body:
    """The request's JSON.

    Raises:
        FaultError: It is too long, no JSON, or something else.
    """
    body = await request.body()
    if len(body) > limit:
        raise FaultError(Fault(413, "too_large", f"the body is longer than {limit} bytes"))
    try:
        return msgspec.json.decode(body or b"{}", type=body_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FaultError(Fault(BAD_BODY.status, BAD_BODY.code, f"{BAD_BODY.message}: {error}")) from None


@get(
    "/exchange-feeds",
    summary="The exchanges' rows, with asset counts and the state of their connections",
    responses=refusals(),
)
async def get_feeds(request: AnyRequest, services: TheServices) -> Feeds:
    """All exchanges, in the order in which they are asked."""
    status = {each.name: each for each in services.feeds.status()}
    listed = [
        ListedFeed(**msgspec.structs.asdict(each), fault=fault_of(each.feed), status=status.get(each.feed["name"]))
        for each in await admin_of(services).store.list_feeds()
    ]
    note(request, "exchange-feeds.list")
    return Feeds(listed)


@post(
    "/exchange-feeds/save",
    status_code=200,
    summary="Add an exchange, or change columns of its row",
    operation_class=described(OBJECT),
    responses=refusals(faults=FaultyColumns),
)
async def save_feed(request: AnyRequest, services: TheServices) -> SavedFeed:
    """The body is the row: `name` and columns. What it leaves out stays, or has its default in a new row."""
    columns = await read_body(request, dict[str, Any])
    feed, added = await admin_of(services).store.save_feed(columns)
    audit(request, "exchange-feeds.save", exchange=feed.name, added=added, columns=sorted(columns))
    return SavedFeed(added=added, feed=msgspec.to_builtins(feed))


@post(
    "/exchange-feeds/toggle",
    status_code=200,
    summary="Switch an exchange on or off",
    operation_class=described(of_properties(["name"], name=TEXT, enabled=BOOLEAN)),
    responses=refusals(404),
)
async def toggle_feed(request: AnyRequest, services: TheServices) -> FeedSwitch:
    """Running servers connect or disconnect within two seconds; without `enabled` it is switched over."""
    wanted = await read_body(request, FeedToggle)
    feed = await admin_of(services).store.toggle_feed(wanted.name, wanted.enabled)
    if feed is None:
        raise FaultError(NO_EXCHANGE)
    audit(request, "exchange-feeds.toggle", exchange=feed.name, enabled=feed.enabled)
    return feed


@get(
    "/exchange-assets",
    summary="The assets that exchanges are mapped to",
    responses={200: ResponseSpec(Assets, description="The rows, by id", generate_examples=False), **refusals()},
)
async def get_assets(
    request: AnyRequest, services: TheServices, exchange: FromQuery[str | None] = None
) -> Response[bytes]:
    """All rows, or those of one exchange."""
    if exchange is not None and "\0" in exchange:
        raise FaultError(NO_EXCHANGE)
    # A page at a time, also in JSON: thousands of rows must not hold the loop.
    pages = [msgspec.json.encode(page)[1:-1] async for page in admin_of(services).store.list_assets(exchange)]
    note(request, "exchange-assets.list", exchange=exchange)
    return Response(b'{"assets":[' + b",".join(filter(None, pages)) + b"]}", media_type=JSON)


@post(
    "/exchange-assets/save",
    status_code=200,
    summary="Add or change many assets: all rows or none",
    operation_class=described(of_properties(["assets"], assets=ROWS, exchange=TEXT)),
    responses=refusals(faults=FaultyRows),
)
async def save_assets(request: AnyRequest, services: TheServices) -> SavedAssets:
    """A row is told by its exchange and asset; what it leaves out stays, or has its default in a new row."""
    wanted = await read_body(request, AssetsToSave, limit=1 << 20)
    saved = await admin_of(services).store.save_assets(await AssetBatch.read(wanted.assets, wanted.exchange))
    audit(request, "exchange-assets.save", **msgspec.structs.asdict(saved))
    return saved


@post(
    "/exchange-assets/toggle",
    status_code=200,
    summary="Switch one asset at one exchange on or off, or its prewarming",
    operation_class=described(
        of_properties([], id=INTEGER, exchange=TEXT, asset=TEXT, enabled=BOOLEAN, prewarm=BOOLEAN)
    ),
    responses=refusals(404),
)
async def toggle_asset(request: AnyRequest, services: TheServices) -> AssetRow:
    """One row, told by `id` or by `exchange` and `asset`; without `enabled` and `prewarm` it is switched over."""
    wanted = await read_body(request, AssetToggle)
    row = await admin_of(services).store.toggle_asset(
        row_id=wanted.id, exchange=wanted.exchange, asset=wanted.asset, enabled=wanted.enabled, prewarm=wanted.prewarm
    )
    if row is None:
        raise FaultError(NO_ASSET)
    audit(
        request, "exchange-assets.toggle", exchange=row.exchange, asset=row.asset, on=row.enabled, prewarm=row.prewarm
    )
    return row


ROUTES = [get_feeds, save_feed, toggle_feed, get_assets, save_assets, toggle_asset]
