"""Every error the HTTP side can answer, besides those of a price request: the one table.

A price request's own errors come from the engine (`beast._fast.RESULTS`); the object is the same.
"""

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.types import ExceptionHandlersMap

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
HEAD_TOO_LARGE = Fault(431, "head_too_large", "the request line and headers are too large")
INTERNAL = Fault(500, "internal_error", "the server made a mistake; it is in its log")
BAD_VERSION = Fault(505, "bad_request", "only HTTP/1.1 and HTTP/1.0 are spoken here")
OVERLOADED = Fault(503, "unavailable", "too many connections; try again in a moment")

_BY_STATUS = {fault.status: fault for fault in (NOT_FOUND, METHOD_NOT_ALLOWED, BODY_TOO_LARGE, INTERNAL)}


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


def _our_mistake(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("http.failed", method=request.method, path=request.url.path, exc_info=error)
    return Response(INTERNAL.body, status_code=INTERNAL.status, media_type=JSON)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {HTTPException: _http_error, Exception: _our_mistake}
