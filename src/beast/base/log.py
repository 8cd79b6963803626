"""Structured logs on stderr, for people (console) or machines (JSON), without secrets."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog

MASK = "***"

_SECRET_NAMES = re.compile(r"(?:^|_)(?:password|secret|token|authorization|api_key|admin_key|stripe_api_key)$")
_SECRET_TEXTS = (
    (re.compile(r"\btb_[A-Za-z0-9_-]{16,}"), "tb_" + MASK),
    (re.compile(r"(://[^:/@\s]*:)[^@\s]+@"), rf"\g<1>{MASK}@"),
)


def mask_text(text: str) -> str:
    """Replaces whatever looks like an API key, or the password of a URL, by ***."""
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


def _masked(name: str, value: object) -> object:
    if value and _SECRET_NAMES.search(name.lower()):
        return MASK
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            return {key: _masked(str(key), inner) for key, inner in value.items()}
        case list() | tuple():
            return [_masked("", inner) for inner in value]
        case bytes():
            return mask_text(value.decode("utf-8", "replace"))
    return mask_text(str(value))


def masked(members: Mapping[str, object]) -> dict[str, object]:
    """The same members, with *** for each that is a secret by its name or its look."""
    return {name: _masked(name, value) for name, value in members.items()}


def mask_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor that masks by the member's name and by the value's look."""
    for name, value in event.items():
        event[name] = _masked(name, value)
    return event


def configure_logging(
    level: str = "info", style: Literal["console", "json"] = "console", stream: TextIO | None = None
) -> None:
    """Sends structlog and the standard library's logging through one masked pipeline.

    Args:
        level: debug, info, warning or error; below it nothing is written.
        style: Lines for people, or one JSON object a line.
        stream: Where to write; stderr unless given.
    """
    out = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if style == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=32
        )
    # Tracebacks become text first: they may quote a secret as well.
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            mask_secrets,
            renderer,
        ],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
