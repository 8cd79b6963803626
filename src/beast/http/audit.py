"""The audit log: who changed what through the admin API."""

import logging
from typing import Any

import structlog
from litestar import Request

NAME = "beast.audit"

# Written whatever the log level: a quiet server still says who has changed it.
logging.getLogger(NAME).setLevel(logging.INFO)

log = structlog.get_logger(NAME)


def audit(request: Request[Any, Any, Any], action: str, **details: object) -> None:
    """Writes one change: what was done, from which address, and what else is worth telling."""
    client = request.client.host if request.client else "unknown"
    log.info(action, client=client, method=request.method, path=request.url.path, **details)
