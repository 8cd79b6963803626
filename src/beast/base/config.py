"""Every setting of a Beast process, in one typed object. Run-time tuning lives in the application parameters."""

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import platformdirs
from msgspec import Meta, field

ServerType = Literal["APP_SERVER", "REPORT_SERVER", "APP_REPORT_SERVER", "WEBHOOK_SERVER"]
SECRET = {"secret": True}


def _port(description: str) -> Meta:
    return Meta(ge=0, le=65535, description=f"{description}; 0 means any free one")


def _default_home() -> Path:
    return Path(platformdirs.user_data_dir("beast", appauthor=False))


def _default_node() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "beast"


def _default_region() -> str:
    return os.environ.get("AWS_REGION") or "local"


def _default_workers() -> int:
    return min(len(os.sched_getaffinity(0)), 256)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings. Each field's Meta holds its allowed range and the text that docs/configuration.md shows."""

    server_type: Annotated[ServerType, Meta(description="What this process serves")] = "APP_REPORT_SERVER"
    home: Annotated[Path, Meta(description="Folder for everything kept on this machine")] = field(
        default_factory=_default_home
    )
    node: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9._-]{1,64}\\Z",
            description="This server's name, in every answer and metric",
            extra={"allowed": "1 to 64 letters, digits, dots, dashes and underscores"},
        ),
    ] = field(default_factory=_default_node)
    region: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9._-]{1,64}\\Z",
            description="Where this server stands, in its statistics",
            extra={"allowed": "1 to 64 letters, digits, dots, dashes and underscores"},
        ),
    ] = field(default_factory=_default_region)

    host: Annotated[str, Meta(min_length=1, description="Address to listen on")] = "127.0.0.1"
    http_port: Annotated[int, _port("TCP port of the price API")] = 8080
    health_port: Annotated[int, _port("TCP port of its health checks")] = 8081
    udp_port: Annotated[int, _port("UDP port for prices")] = 2679
    report_http_port: Annotated[int, _port("TCP port of the reports")] = 9090
    report_health_port: Annotated[int, _port("TCP port of their health checks")] = 9091
    report_udp_port: Annotated[int, _port("UDP port for reports")] = 2680
    webhook_health_port: Annotated[int, _port("TCP port of the webhook server's health checks")] = 8083

    workers: Annotated[int, Meta(ge=1, le=256, description="Cores that answer prices, two threads each")] = field(
        default_factory=_default_workers
    )
    pin: Annotated[bool, Meta(description="Pin each worker to its core; for machines of Beast's own")] = False
    spin_us: Annotated[
        int, Meta(ge=0, le=50, description="Microseconds a UDP worker polls before it sleeps; costs its core")
    ] = 0
    latency_sample: Annotated[
        int, Meta(ge=0, le=1_048_576, description="Measure the latency of one UDP batch in so many; 0: of none")
    ] = 64
    udp_buffer: Annotated[
        int, Meta(ge=1 << 16, le=1 << 30, description="Receive buffer of each UDP socket, in bytes")
    ] = 32 << 20
    max_keys: Annotated[int, Meta(ge=1024, le=1 << 26, description="API keys that memory has room for")] = 1 << 20
    max_instruments: Annotated[
        int, Meta(ge=64, le=1 << 20, description="Pairs of exchange and asset that memory has room for")
    ] = 1 << 14
    http_max_connections: Annotated[
        int, Meta(ge=16, le=1 << 20, description="Open HTTP connections of each worker")
    ] = 16_384
    drain_s: Annotated[
        float, Meta(ge=0, le=600, description="Seconds that requests under way may take when the server stops")
    ] = 5.0

    feeds: Annotated[Literal["live", "sim"], Meta(description="The real exchanges, or the built-in simulator")] = "live"
    sim_seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Seed of the simulator's random walk")] = 1

    database_url: Annotated[
        str,
        Meta(
            pattern="^(?:postgres(?:ql)?://.*)?\\Z",
            description="PostgreSQL to use; empty: the embedded one",
            extra=SECRET | {"allowed": "postgresql://…"},
        ),
    ] = ""
    redis_url: Annotated[
        str,
        Meta(
            pattern="^(?:(?:rediss?|valkeys?|unix)://.*)?\\Z",
            description="Valkey or Redis for tier 2 and the cluster; empty: none",
            extra=SECRET | {"allowed": "redis://…, rediss://…, valkey://…, valkeys://… or unix://…"},
        ),
    ] = ""
    usage_queue: Annotated[
        str,
        Meta(
            pattern="^(?:folder:/.+)?\\Z",
            description="Queue that usage goes through on its way to the database; empty: none, straight into it",
            extra={"allowed": "folder:/…"},
        ),
    ] = ""
    usage_queue_url: Annotated[
        str,
        Meta(
            pattern=r"^(?:https?://[^\s/]+/\S+(?<!\.fifo))?\Z",
            description="SQS queue that usage goes through in place of usage_queue; empty: none",
            extra={"allowed": "the URL of a standard queue, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"},
        ),
    ] = ""
    stripe_api_key: Annotated[str, Meta(description="Stripe's secret key; empty: payments are off", extra=SECRET)] = ""
    admin_key: Annotated[
        str,
        Meta(
            pattern=r"^(?:[\x21-\x7e]{16,128})?\Z",
            description="Key for everything under /admin/; empty: one is made and kept in the home",
            extra=SECRET | {"allowed": "16 to 128 printable characters without spaces"},
        ),
    ] = ""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Below it nothing is logged")
    ] = "info"
    log_format: Annotated[
        Literal["console", "json"], Meta(description="Lines for people, or one JSON object a line")
    ] = "console"


class Setting(msgspec.Struct, frozen=True):
    """One field of Config, as the loader, `beast config` and the documentation see it."""

    name: str
    variable: str
    """The environment variable that sets it."""
    type: Any
    allowed: str
    """The allowed values, in words."""
    description: str
    secret: bool


_UNPREFIXED = {"server_type", "database_url", "redis_url", "stripe_api_key"}


def _allowed(info: msgspec.inspect.Type) -> str:
    match info:
        case msgspec.inspect.BoolType():
            words = "true or false"
        case msgspec.inspect.LiteralType():
            words = ", ".join(str(value) for value in info.values)
        case msgspec.inspect.IntType():
            words = f"an integer from {info.ge} to {info.le}"
            words += f", a multiple of {info.multiple_of}" if info.multiple_of else ""
        case msgspec.inspect.FloatType():
            words = f"a number from {info.ge:g} to {info.le:g}"
        case msgspec.inspect.StrType(pattern=str()):
            words = f"text like {info.pattern}"
        case msgspec.inspect.StrType():
            words = "text, not empty" if info.min_length else "text"
        case msgspec.inspect.CustomType():
            words = "a path"
        case _:
            raise TypeError(f"{info} is no type for a setting")
    return words


def describe(struct: type[msgspec.Struct]) -> dict[str, Setting]:
    """Every field of a settings Struct by name, in the order of the class."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    settings = {}
    for item, declared in zip(info.fields, msgspec.structs.fields(struct), strict=True):
        meta = next(part for part in declared.type.__metadata__ if isinstance(part, Meta))
        inner = item.type
        while isinstance(inner, msgspec.inspect.Metadata):
            inner = inner.type
        settings[item.name] = Setting(
            name=item.name,
            variable=item.name.upper() if item.name in _UNPREFIXED else f"BEAST_{item.name.upper()}",
            type=declared.type,
            allowed=(meta.extra or {}).get("allowed") or _allowed(inner),
            description=meta.description or "",
            secret=bool((meta.extra or {}).get("secret")),
        )
    return settings


SETTINGS = describe(Config)
