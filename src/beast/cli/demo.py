"""What `beast serve --demo` shows: where it listens, what to paste, and prices as they move."""

import asyncio
import shlex
import sys
from collections.abc import Iterator

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from beast.app import Server, ports_of
from beast.base.config import Config
from beast.base.config_sources import LoadedConfig
from beast.base.errors import BeastError
from beast.engine.machine import claim_port
from beast.http.services import Services

REFRESH_S = 0.5
PLAIN_S = 5.0
"""Without a terminal a line now and then is enough."""
FAVOURITES = ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT", "LTC", "BCH", "UNI")


def free_ports(loaded: LoadedConfig) -> tuple[LoadedConfig, list[str]]:
    """A default port that is taken becomes any free one, and why; a port that was asked for stays as it is."""
    ports, reasons = {}, []
    for kind in ports_of(loaded.config):
        name = f"{kind}_port"
        if loaded.origins[name] != "default":
            continue
        port = getattr(loaded.config, name)
        try:
            claim_port(kind.replace("_", "-"), loaded.config.host, port)
        except BeastError:
            ports[name] = 0
            reasons.append(f"{kind.replace('_', ' ')} port {port} is taken: using a free one")
    config = msgspec.structs.replace(loaded.config, **ports)
    return msgspec.structs.replace(loaded, config=config), reasons


class Screen:
    """Shows one demo.

    Args:
        console: Where.
        remarks: Told first.
    """

    def __init__(self, console: Console, remarks: list[str]) -> None:
        self._console = console
        self._remarks = remarks

    async def show(self, server: Server) -> None:
        """Runs until cancelled."""
        assert server.prices is not None, "a demo shows prices"
        services = server.prices.services
        for line in [*self._remarks, *banner(server)]:
            self._console.print(line, soft_wrap=True)
        if not self._console.is_terminal:
            while True:
                for row in prices(services, FAVOURITES[:3]):
                    self._console.print(" ".join(row), soft_wrap=True)
                await asyncio.sleep(PLAIN_S)
        with Live(table(services), console=self._console, refresh_per_second=1 / REFRESH_S) as live:
            while True:
                await asyncio.sleep(REFRESH_S)
                live.update(table(services))


def banner(server: Server) -> Iterator[str]:
    """Where it listens and three lines to paste."""
    at = server.presence
    http, udp, key = at.ports["http"], at.ports["udp"], at.demo_api_key
    request = f'{{"api_key":"{key}","asset":"BTC"}}'
    home = "" if server.config.home == Config().home else f"BEAST_HOME={shlex.quote(at.home)} "
    yield f"Beast {at.version} with simulated exchanges; Ctrl-C stops it."
    yield f"  HTTP {at.host}:{http}   UDP {at.host}:{udp}   health {at.host}:{at.ports['health']}"
    if "report_http" in at.ports:
        yield f"  reports: HTTP {at.host}:{at.ports['report_http']}   UDP {at.host}:{at.ports['report_udp']}"
    yield f"  demo key {key}"
    yield "From another terminal:"
    yield (
        f"  python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(2); "
        f's.sendto(b"""{request}""", ("{at.host}", {udp})); print(s.recv(1400).decode())\''
    )
    yield f"  curl -H 'X-API-Key: {key}' 'http://{at.host}:{http}/price?asset=BTC'"
    yield f"  {home}{shlex.quote(sys.argv[0])} price BTC --watch"
    yield f"Everything else: http://{at.host}:{http}/docs"


def prices(services: Services, wanted: tuple[str, ...]) -> Iterator[tuple[str, str, str, str, str]]:
    """(asset, price, currency, exchange, state) of the first market that has a price, without asking as a client."""
    now_ns = services.clock.monotonic_ns()
    markets = {each.asset: each.markets for each in services.catalogue.assets()}
    for asset in wanted:
        for market in markets.get(asset, ()):
            instrument = services.catalogue.find(market.exchange, asset)
            held = instrument and services.engine.peek(instrument.id, now_ns)
            if held:
                yield asset, str(held["price"]), market.currency, market.exchange, str(held["state"])
                break


def table(services: Services) -> Table:
    """The prices of the moment."""
    made = Table(box=None, pad_edge=False)
    for title in ("asset", "price", "", "exchange", "state"):
        made.add_column(title, justify="right" if title == "price" else "left")
    for row in prices(services, FAVOURITES):
        made.add_row(*row)
    return made
