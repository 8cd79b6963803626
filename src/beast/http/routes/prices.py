"""GET /price, GET /prices and POST /prices, when the workers did not recognise the request as a plain one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import SkipValidation
from litestar.status_codes import HTTP_200_OK

from beast._fast import Bill
from beast.http.errors import BODY_TOO_LARGE, JSON, error_body
from beast.http.extensions import OWE
from beast.http.query import BadRequestError, PriceQuery, read_body, read_key, read_query
from beast.http.schema import Price, PriceError, Prices
from beast.http.services import Services

BODY_MAX = 64 << 10
"""Bytes of a POST body that are read: reading JSON holds the loop, and thirty names need far less."""

FIRST, AGAIN = 1, 2
"""Turns of Engine.query()."""
MISSED = 0
"""Its status when a slower tier may know more."""

AnyRequest = Request[Any, Any, Any]
TheServices = NamedDependency[SkipValidation[Services]]

ERRORS = {
    400: ResponseSpec(PriceError, description="bad_request", generate_examples=False),
    401: ResponseSpec(PriceError, description="unauthorized", generate_examples=False),
    402: ResponseSpec(PriceError, description="quota_exceeded", generate_examples=False),
    404: ResponseSpec(PriceError, description="unknown_asset, unknown_exchange", generate_examples=False),
    429: ResponseSpec(PriceError, description="rate_limited; see Retry-After", generate_examples=False),
    503: ResponseSpec(PriceError, description="stale, unavailable", generate_examples=False),
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"api_key": []}]


def parameter(name: str, kind: OpenAPIType, description: str, *, required: bool = False) -> Parameter:
    """One member of a query string, in the OpenAPI description."""
    return Parameter(name=name, param_in="query", schema=Schema(type=kind), description=description, required=required)


_OPTIONS = [
    parameter("exchange", OpenAPIType.STRING, "Only this exchange may answer"),
    parameter("max_age_ms", OpenAPIType.INTEGER, "Refuse anything received longer ago"),
    parameter("allow_stale", OpenAPIType.BOOLEAN, "Answer even what is stale"),
]


@dataclass
class PriceOperation(Operation):
    """GET /price in the OpenAPI description."""

    def __post_init__(self) -> None:
        """Litestar sees no parameters: the query is read by our own rules."""
        self.parameters = [parameter("asset", OpenAPIType.STRING, "One asset", required=True), *_OPTIONS]


@dataclass
class PricesOperation(Operation):
    """GET /prices in the OpenAPI description."""

    def __post_init__(self) -> None:
        """See PriceOperation."""
        assets = parameter("assets", OpenAPIType.STRING, "1 to 30 assets, comma-joined", required=True)
        self.parameters = [assets, *_OPTIONS]


@dataclass
class PostPricesOperation(Operation):
    """POST /prices in the OpenAPI description."""

    def __post_init__(self) -> None:
        """See PriceOperation."""
        assets = Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING), min_items=1, max_items=30)
        options = {option.name: option.schema for option in _OPTIONS if option.schema is not None}
        body = Schema(type=OpenAPIType.OBJECT, properties={"assets": assets, **options}, required=["assets"])
        self.request_body = RequestBody(content={JSON: OpenAPIMediaType(schema=body)}, required=True)


@get(
    "/price",
    summary="The latest price of one asset",
    operation_class=PriceOperation,
    responses={200: ResponseSpec(Price, description="The price", generate_examples=False), **ERRORS},
    security=SECURITY,
)
async def get_price(request: AnyRequest, services: TheServices) -> Response[bytes]:
    """The latest price of one asset."""
    return await _answer(request, services, lambda: read_query(request.scope["query_string"], many=False), many=False)


@get(
    "/prices",
    summary="The latest prices of several assets",
    operation_class=PricesOperation,
    responses={200: ResponseSpec(Prices, description="The prices", generate_examples=False), **ERRORS},
    security=SECURITY,
)
async def get_prices(request: AnyRequest, services: TheServices) -> Response[bytes]:
    """The latest prices of several assets; one request against the key's limits."""
    return await _answer(request, services, lambda: read_query(request.scope["query_string"], many=True), many=True)


@post(
    "/prices",
    status_code=200,
    summary="The latest prices of several assets, asked in a body",
    operation_class=PostPricesOperation,
    responses={200: ResponseSpec(Prices, description="The prices", generate_examples=False), **ERRORS},
    security=SECURITY,
)
async def post_prices(request: AnyRequest, services: TheServices) -> Response[bytes]:
    """The same as GET /prices, for lists that are too long for a URL."""
    body = await request.body()
    if len(body) > BODY_MAX:
        return Response(BODY_TOO_LARGE.body, status_code=BODY_TOO_LARGE.status, media_type=JSON)
    return await _answer(request, services, lambda: read_body(body), many=True)


async def _answer(
    request: AnyRequest, services: Services, read: Callable[[], PriceQuery], *, many: bool
) -> Response[bytes]:
    engine = services.engine
    bill = Bill()
    try:
        key = read_key(request.scope["headers"])
        query = read()
    except BadRequestError as error:
        status, body, lines = 400, error_body("bad_request", error.message), b""
    else:
        status, body, lines = await _ask(services, key, query, many=many, peer=peer_of(request), bill=bill)
        owe(request, bill)
    engine.count("tcp_requests")
    engine.count("http_answered" if status == HTTP_200_OK else "http_refused")
    return Response(body, status_code=status, media_type=JSON, headers=answer_headers(lines))


async def _ask(
    services: Services, key: bytes | None, query: PriceQuery, *, many: bool, peer: str | None, bill: Bill
) -> tuple[int, bytes, bytes]:
    """Asks memory and, where it can't answer, memory again after the slower tiers."""
    ask = partial(
        services.engine.query,
        key,
        query.assets,
        many=many,
        exchange=query.exchange,
        max_age_ms=query.max_age_ms,
        allow_stale=query.allow_stale,
        peer=peer,
        bill=bill,
    )
    if services.tiers is None:
        return ask()
    answer = ask(turn=FIRST)
    if answer[0] == MISSED:
        await services.tiers.find(query.assets, query.exchange, query.max_age_ms)
        answer = ask(turn=AGAIN)
    return answer


def owe(request: AnyRequest, bill: Bill) -> None:
    """Has the answer counted when it is written, and only then; at once where nobody can tell (in tests)."""
    extensions: dict[str, Any] = request.scope.get("extensions") or {}
    if OWE in extensions:
        extensions[OWE]["call"](bill)
    else:
        bill.pay()


def peer_of(request: AnyRequest) -> str | None:
    """The address at the other end of the connection; None: there is no such thing (in tests)."""
    return request.client.host if request.client else None


def answer_headers(lines: bytes) -> dict[str, str]:
    """What the workers send along: no cache may keep a price, and `lines` as the engine wrote them."""
    headers = {"cache-control": "no-store"}
    for line in lines.decode().splitlines():
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return headers


ROUTES = [get_price, get_prices, post_prices]
