"""The audit log: who changed what through the admin API. Each change is a line of the log and a row of `audit_log`."""

import logging
from typing import Any

import structlog
from litestar import Request

from beast.accounts.audit import Actor, Trail

NAME = "beast.audit"
TRAIL = "trail"
"""Where the application's state keeps what writes the rows; without one there are only lines."""
OPERATOR = "operator"

# Written whatever the log level: a quiet server still says who has changed it.
logging.getLogger(NAME).setLevel(logging.INFO)

log = structlog.get_logger(NAME)


def actor_of(request: Request[Any, Any, Any]) -> Actor:
    """The holder of the operator's key, at the address that the request came from."""
    return Actor(OPERATOR, request.client.host if request.client else "unknown")


def audit(request: Request[Any, Any, Any], action: str, **details: object) -> None:
    """Tells one change: what was done, from which address, and what else is worth telling."""
    note(request, action, **details)
    trail: Trail | None = request.app.state.get(TRAIL)
    if trail is not None:
        trail.put(actor_of(request), action, details)


def note(request: Request[Any, Any, Any], action: str, **details: object) -> None:
    """Writes the line alone: of a look, or of a change that has written its row itself."""
    log.info(action, client=actor_of(request).address, method=request.method, path=request.url.path, **details)
