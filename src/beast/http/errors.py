"""Every error the HTTP side can answer, besides those of a price request: the one table.

A price request's own errors come from the engine (`beast._fast.RESULTS`); the object is the same.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.types import ExceptionHandlersMap

from beast.accounts.access import AccessDeniedError
from beast.accounts.errors import ConflictError, ReusedRequestError, TooManyError, UnknownAccountError
from beast.base.errors import BeastError
from beast.feeds.admin.rows import BatchError
from beast.feeds.rows.files import RowsError
from beast.feeds.shadow.store import NoDraftError, NotNowError
from beast.storage.database import DatabaseUnavailableError

log = structlog.get_logger(__name__)

JSON = "application/json"


class Fault(msgspec.Struct, frozen=True):
    """What a client is told: the HTTP status, the wire code and one sentence."""

    status: int
    code: str
    message: str

    @property
    def body(self) -> bytes:
        """The JSON object of docs/protocol.md, section 5."""
        return error_body(self.code, self.message)


BAD_REQUEST = Fault(400, "bad_request", "the request is not well-formed HTTP/1.1")
BAD_HOST = Fault(400, "bad_request", "an HTTP/1.1 request needs exactly one Host header")
UNAUTHORIZED = Fault(401, "unauthorized", "the admin key is missing or not valid")
NOT_FOUND = Fault(404, "not_found", "there is nothing at this path; see /docs")
METHOD_NOT_ALLOWED = Fault(405, "method_not_allowed", "this path does not take this method; see Allow")
TIMEOUT = Fault(408, "timeout", "the request took too long to arrive")
BODY_TOO_LARGE = Fault(413, "too_large", "the body is too large")
UPGRADE_REQUIRED = Fault(426, "upgrade_required", "this path speaks WebSocket, version 13; see docs/stream.md")
HEAD_TOO_LARGE = Fault(431, "head_too_large", "the request line and headers are too large")
INTERNAL = Fault(500, "internal_error", "the server made a mistake; it is in its log")
BAD_VERSION = Fault(505, "bad_request", "only HTTP/1.1 and HTTP/1.0 are spoken here")
OVERLOADED = Fault(503, "unavailable", "too many connections; try again in a moment")
STREAMS_FULL = Fault(503, "unavailable", "too many streams; try again in a moment")
STOPPING = Fault(503, "unavailable", "the server is stopping; connect again in a moment")
BAD_HANDSHAKE = Fault(400, "bad_request", "Sec-WebSocket-Key must be 16 bytes in base64")
BAD_MESSAGE = Fault(
    400, "bad_request", "a message is one JSON object: assets an array of texts, exchange a text, resume ids by asset"
)

BAD_BODY = Fault(400, "bad_request", "the body is not what this path takes")
NO_EXCHANGE = Fault(404, "unknown_exchange", "there is no exchange of this name")
NO_ASSET = Fault(404, "not_found", "there is no such row; GET /admin/exchange-assets shows those there are")
NO_RUN = Fault(404, "not_found", "there is no audit of this id; the last ten are kept")
NO_LETTER = Fault(404, "not_found", "there is no such dead letter; GET /admin/usage/dead-letters shows those there are")
BUSY = Fault(409, "busy", "one of these is running already; try again when it has ended")
NO_ACCOUNTS = Fault(503, "unavailable", "this server has no accounts")
NO_ADMIN = Fault(503, "unavailable", "this server has no exchange admin")
NO_INSIGHTS = Fault(503, "unavailable", "this server has no insights")

_BY_STATUS = {fault.status: fault for fault in (NOT_FOUND, METHOD_NOT_ALLOWED, BODY_TOO_LARGE, INTERNAL)}


class FaultError(Exception):
    """A request ends with this answer."""

    def __init__(self, fault: Fault, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.headers = dict(headers or {})


def error_body(code: str, message: str) -> bytes:
    """One error object, members in the order of the specification."""
    return msgspec.json.encode({"error": code, "message": message})


def _http_error(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's own refusals, in our words."""
    assert isinstance(error, HTTPException)
    if isinstance(error, NotAuthorizedException):
        fault = UNAUTHORIZED
    else:
        fault = _BY_STATUS.get(error.status_code, Fault(error.status_code, BAD_REQUEST.code, error.detail))
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if "allow" in headers:
        allowed = {method.strip() for method in headers["allow"].split(",")}
        headers["allow"] = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
    return Response(error_body(fault.code, fault.message), status_code=fault.status, media_type=JSON, headers=headers)


def _fault(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    assert isinstance(error, FaultError)
    return Response(error.fault.body, status_code=error.fault.status, media_type=JSON, headers=error.headers)


def _denied(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    assert isinstance(error, AccessDeniedError)
    return Response(
        error_body(UNAUTHORIZED.code, error.what),
        status_code=UNAUTHORIZED.status,
        media_type=JSON,
        headers={"www-authenticate": "Bearer"},
    )


def _told(status: int, code: str) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """Answers with the error's own words."""
    return lambda _, error: Response(error_body(code, str(error)), status_code=status, media_type=JSON)


def _refused(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What an operator can mend."""
    return Response(error_body(BAD_REQUEST.code, str(error)), status_code=BAD_REQUEST.status, media_type=JSON)


def _refused_rows(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The same, with the faults of rows one by one."""
    assert isinstance(error, RowsError | BatchError)
    faults: list[object] = [
        {"column": fault.column, "reason": fault.reason} if isinstance(error, RowsError) else fault
        for fault in error.faults
    ]
    body = {"error": BAD_REQUEST.code, "message": str(error), "faults": faults}
    return Response(msgspec.json.encode(body), status_code=BAD_REQUEST.status, media_type=JSON)


def _our_mistake(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("http.failed", method=request.method, path=request.url.path, exc_info=error)
    return Response(INTERNAL.body, status_code=INTERNAL.status, media_type=JSON)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    HTTPException: _http_error,
    FaultError: _fault,
    RowsError: _refused_rows,
    BatchError: _refused_rows,
    NoDraftError: _told(404, NOT_FOUND.code),
    NotNowError: _told(BUSY.status, "not_now"),
    AccessDeniedError: _denied,
    UnknownAccountError: _told(404, NOT_FOUND.code),
    ConflictError: _told(409, "conflict"),
    ReusedRequestError: _told(422, "idempotency_key_reused"),
    TooManyError: _told(OVERLOADED.status, OVERLOADED.code),
    DatabaseUnavailableError: _told(OVERLOADED.status, OVERLOADED.code),
    BeastError: _refused,
    Exception: _our_mistake,
}
