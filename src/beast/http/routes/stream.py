"""GET /stream and GET /ws: the connection becomes a stream of prices. See docs/stream.md."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import SkipValidation
from litestar.status_codes import HTTP_200_OK

from beast.http.errors import BAD_HANDSHAKE, JSON, STREAMS_FULL, UPGRADE_REQUIRED, Fault, error_body
from beast.http.extensions import HAND_ON, HandOn
from beast.http.query import MESSAGES, BadRequestError, PriceQuery, read_key, read_query
from beast.http.routes.prices import ERRORS, SECURITY, answer_headers, parameter, peer_of
from beast.http.schema import PriceError
from beast.http.services import Services
from beast.http.stream import sse
from beast.http.stream.admission import Admission, admit, refusal
from beast.http.stream.frames import accept_key
from beast.http.stream.hub import REVOKED, Hub
from beast.http.stream.sse import SseSession
from beast.http.stream.ws import WsSession

VERSION = "13"
KEY_BYTES = 16
NOTHING_YET = Admission(HTTP_200_OK, b"", b"", [], [])
"""A WebSocket that will say later what it wants."""

AnyRequest = Request[Any, Any, Any]
TheServices = NamedDependency[SkipValidation[Services]]
TheHub = NamedDependency[SkipValidation[Hub]]

REFUSALS = {
    **ERRORS,
    404: ResponseSpec(
        PriceError, description="unknown_exchange; unknown_asset, of all assets", generate_examples=False
    ),
    503: ResponseSpec(PriceError, description="unavailable: there are too many streams", generate_examples=False),
}


@dataclass
class StreamOperation(Operation):
    """GET /stream in the OpenAPI description."""

    def __post_init__(self) -> None:
        """See PriceOperation."""
        last = parameter("Last-Event-ID", OpenAPIType.STRING, "The id of the last event seen, when coming back")
        last.param_in = "header"
        self.parameters = [
            parameter("assets", OpenAPIType.STRING, "1 to 30 assets, comma-joined", required=True),
            parameter("exchange", OpenAPIType.STRING, "Only the prices of this exchange"),
            last,
        ]


@dataclass
class WsOperation(Operation):
    """GET /ws in the OpenAPI description."""

    def __post_init__(self) -> None:
        """See PriceOperation. Litestar believes that every route answers 200."""
        (self.responses or {}).pop("200", None)
        self.parameters = [
            parameter("assets", OpenAPIType.STRING, "1 to 30 assets, comma-joined; or a message says which"),
            parameter("exchange", OpenAPIType.STRING, "Only the prices of this exchange"),
        ]


@get(
    "/stream",
    summary="Prices as they change, as server-sent events",
    operation_class=StreamOperation,
    media_type="text/event-stream",
    responses={200: ResponseSpec(str, description="Events without end", generate_examples=False), **REFUSALS},
    security=SECURITY,
)
async def get_stream(request: AnyRequest, services: TheServices, hub: TheHub) -> Response[bytes]:
    """Prices of several assets: each as it is, then whenever it or its state changes."""
    asked = _ask(request, services, hub)
    if isinstance(asked, Response):
        return asked
    session = SseSession(hub, sha256(asked.key).digest(), request.headers.get("last-event-id"))
    if _hand_on(request)(session, HTTP_200_OK, sse.HEADERS):
        session.open(asked.admission)
    # For HEAD; otherwise nobody gets it any more.
    return Response(b"", headers={name.decode(): value.decode() for name, value in sse.HEADERS})


@get(
    "/ws",
    summary="Prices as they change, by WebSocket",
    operation_class=WsOperation,
    responses={
        101: ResponseSpec(None, description="Messages without end"),
        426: ResponseSpec(PriceError, description="upgrade_required: no WebSocket handshake", generate_examples=False),
        **REFUSALS,
    },
    security=SECURITY,
)
async def get_ws(request: AnyRequest, services: TheServices, hub: TheHub) -> Response[bytes]:
    """The same as GET /stream; the list of assets can be changed by a message."""
    fault = handshake_fault(request.headers)
    if fault is not None:
        headers = {"upgrade": "websocket", "sec-websocket-version": VERSION} if fault is UPGRADE_REQUIRED else {}
        return Response(fault.body, status_code=fault.status, media_type=JSON, headers=headers)
    asked = _ask(request, services, hub, assets_needed=False)
    if isinstance(asked, Response):
        return asked
    again = partial(admit, services.engine, asked.key, peer_of(request))
    session = WsSession(hub, sha256(asked.key).digest(), again, services.clock.monotonic_ns)
    accept = accept_key(request.headers["sec-websocket-key"]).encode()
    switch = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-accept", accept)]
    if _hand_on(request)(session, 101, switch):
        session.open(asked.admission)
    return Response(b"", status_code=HTTP_200_OK)


@dataclass
class _Asked:
    """A request that may become a stream, and the key that opened it."""

    key: bytes
    admission: Admission


def _ask(request: AnyRequest, services: Services, hub: Hub, *, assets_needed: bool = True) -> _Asked | Response[bytes]:
    """Reads the request and asks the engine; the answer to send when there will be no stream."""
    engine = services.engine
    engine.count("tcp_requests")
    try:
        key = read_key(request.scope["headers"])
        query = _read(request.scope["query_string"], assets_needed=assets_needed)
    except BadRequestError as error:
        engine.count("http_refused")
        return Response(error_body("bad_request", error.message), status_code=400, media_type=JSON)
    known = key is not None and hub.knows(sha256(key).digest(), peer_of(request))
    if known and hub.full:
        engine.count("streams_refused")
        admission = refusal(STREAMS_FULL)
    elif query.assets:
        admission = admit(engine, key, peer_of(request), query.assets, query.exchange)
    else:
        admission = NOTHING_YET if known else refusal(REVOKED)
    if key is not None and (admission.places or admission is NOTHING_YET):
        engine.count("http_answered")
        return _Asked(key, admission)
    engine.count("http_refused")
    headers = answer_headers(admission.lines)
    return Response(admission.body, status_code=admission.status, media_type=JSON, headers=headers)


def _read(text: bytes, *, assets_needed: bool) -> PriceQuery:
    try:
        return read_query(text, many=True)
    except BadRequestError as error:
        if assets_needed or error.message != MESSAGES["NO_ASSET"]:
            raise
        return PriceQuery()


def _hand_on(request: AnyRequest) -> HandOn:
    extensions: Any = request.scope["extensions"]
    call: HandOn = extensions[HAND_ON]["call"]
    return call


def handshake_fault(headers: Mapping[str, str]) -> Fault | None:
    """What is wrong with the opening handshake (RFC 6455, section 4.2.1)."""
    connection = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in connection:
        return UPGRADE_REQUIRED
    if headers.get("sec-websocket-version") != VERSION:
        return UPGRADE_REQUIRED
    try:
        key = b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except ValueError:
        return BAD_HANDSHAKE
    return None if len(key) == KEY_BYTES else BAD_HANDSHAKE


ROUTES = [get_stream, get_ws]
