"""beast serve: the server."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import uvloop
from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console

from beast.app import PRICES, REPORTS, Options, Server
from beast.base.config_sources import LoadedConfig, load_config
from beast.base.errors import UsageError
from beast.base.log import configure_logging
from beast.cli.demo import Screen, free_ports
from beast.cli.sizes import size_of
from beast.cli.terminal import ctrl_c_for_us_alone
from beast.serving.recording import RecordTo

app = App(
    name="serve",
    help_epilogue="""Examples:
  beast serve --demo
  beast serve --feeds sim --http-port 0 --udp-port 0 --health-port 0
  beast serve --config /etc/beast.toml
  beast serve --record /var/lib/beast/recordings --record-max-size 20GB
  SERVER_TYPE=APP_SERVER DATABASE_URL=postgresql://... beast serve --host 0.0.0.0
  SERVER_TYPE=REPORT_SERVER DATABASE_URL=postgresql://... beast serve --host 0.0.0.0""",
)

BUILT = PRICES | REPORTS


@app.default
def serve(
    *,
    demo: Annotated[bool, Parameter(negative=())] = False,
    feeds: Literal["live", "sim"] | None = None,
    config: Path | None = None,
    home: Path | None = None,
    ready_file: Path | None = None,
    record: Path | None = None,
    record_max_size: str = "1GB",
    grace: Annotated[float, Parameter(validator=Number(gte=0, lte=600))] = 0.0,
    node: str | None = None,
    host: str | None = None,
    http_port: int | None = None,
    health_port: int | None = None,
    udp_port: int | None = None,
    report_http_port: int | None = None,
    report_health_port: int | None = None,
    report_udp_port: int | None = None,
    workers: int | None = None,
    database_url: str | None = None,
    log_level: Literal["debug", "info", "warning", "error"] | None = None,
    log_format: Literal["console", "json"] | None = None,
) -> int:
    """Run the server until SIGINT, SIGTERM or SIGHUP, then drain and exit 0; a second signal ends it at once.

    What is not given here comes from the environment, the configuration file and the defaults: see beast config.

    Args:
        demo: Simulated exchanges, a key without limits, and live prices on the screen.
        feeds: The real exchanges, or the built-in simulator.
        config: TOML file; else BEAST_CONFIG.
        home: Folder for everything kept on this machine.
        ready_file: Written (as JSON) once everything listens and the first prices are in.
        record: Folder for a recording of what the exchanges send, from the first connection on: see beast replay.
        record_max_size: Of all recordings in that folder, such as 500MB: the oldest files are removed.
        grace: Seconds between /health/ready turning false and the doors closing.
        node: This server's name in every answer.
        host: Address to listen on.
        http_port: TCP port of the price API; 0 means any free one.
        health_port: TCP port of the health checks; 0 means any free one.
        udp_port: UDP port for prices; 0 means any free one.
        report_http_port: TCP port of the reports; 0 means any free one.
        report_health_port: TCP port of their health checks; 0 means any free one.
        report_udp_port: UDP port for reports; 0 means any free one.
        workers: Cores that answer prices.
        database_url: postgresql://...; else the embedded PostgreSQL.
        log_level: Below it nothing is logged.
        log_format: Lines for people, or one JSON object a line.
    """
    given = {
        "feeds": feeds or ("sim" if demo else None),
        "home": home,
        "node": node,
        "host": host,
        "http_port": http_port,
        "health_port": health_port,
        "udp_port": udp_port,
        "report_http_port": report_http_port,
        "report_health_port": report_health_port,
        "report_udp_port": report_udp_port,
        "workers": workers,
        "database_url": database_url,
        "log_level": log_level,
        "log_format": log_format,
    }
    loaded = load_config(given, file=config)
    if loaded.config.server_type not in BUILT:
        raise UsageError(
            f"{loaded.config.server_type} can't be served yet: its rooms are not built",
            where="SERVER_TYPE",
            todo=f"use {', '.join(sorted(BUILT))}",
        )
    if demo and loaded.config.server_type not in PRICES:
        raise UsageError(
            "a demo shows prices", where="--demo", todo=f"set SERVER_TYPE to {' or '.join(sorted(PRICES))}"
        )
    screen = None
    if demo:
        loaded, remarks = free_ports(quiet(loaded))
        screen = Screen(Console(highlight=False), remarks)
    configure_logging(loaded.config.log_level, loaded.config.log_format)
    to = RecordTo(record, size_of(record_max_size, "--record-max-size")) if record else None
    server = Server(loaded.config, Options(demo=demo, ready_file=ready_file, grace_s=grace, record=to))
    with ctrl_c_for_us_alone():
        uvloop.run(server.run(screen.show if screen else None))
    return 0


def quiet(loaded: LoadedConfig) -> LoadedConfig:
    """A demo shows prices, not log lines, unless it was told which ones to show."""
    if loaded.origins["log_level"] != "default":
        return loaded
    return msgspec.structs.replace(loaded, config=msgspec.structs.replace(loaded.config, log_level="warning"))
