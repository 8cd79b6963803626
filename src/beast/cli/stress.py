"""beast stress: load for a server of one's own, every answer checked, and a verdict."""

import ipaddress
import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Group, Parameter
from cyclopts.validators import Number
from rich.console import Console

from beast._fast import LOAD_FAULTS, LOAD_WINDOW_MAX, Load, udp_segment
from beast.base.errors import EXIT_FAILED, BeastError, UsageError
from beast.cli.common import Target, find_target, http_get
from beast.cli.stress_report import Report
from beast.engine.load import LADDER, Figures, Level, Limits, Protocol, closed_level, drive, figures_of
from beast.engine.machine import raise_file_limit

EXIT_INTERRUPTED = 130
SECONDS = 10.0
LADDER_SECONDS = 3.0
ASSETS_A_REQUEST = 30
UNITS = {"s": 1, "m": 60, "h": 3600}

Flag = Annotated[bool, Parameter(negative=())]
Percent = Annotated[float, Parameter(validator=Number(gte=0, lte=100))]
Positive = Annotated[int, Parameter(validator=Number(gte=1))]

WHO = Group.create_ordered("Whom and what to ask")
LOAD = Group.create_ordered("How hard")
VERDICT = Group.create_ordered("Verdict")

app = App(
    name="stress",
    help_epilogue="""Examples:
  beast stress
  beast stress --ladder
  beast stress --http --levels 64,256 --pipeline 16
  beast stress --rate 50000 --sustain 30m --max-p99-us 500
  beast stress --target 10.0.0.5:2679 --key tb_... --asset BTC --i-own-this-host""",
)


@dataclass(frozen=True, kw_only=True)
class Who:
    """Whom and what to ask."""

    target: Annotated[str | None, Parameter(name=["--target", "--server"])] = None
    """HOST:PORT, http://HOST:PORT or udp://HOST:PORT; else BEAST_SERVER, else the server on this home."""
    i_own_this_host: Flag = False
    """Needed with --target to load any other host than this one."""
    key: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """API key; may be repeated. Else BEAST_API_KEY, else the key of the demo on this home."""
    keys_file: Path | None = None
    """More API keys, one a line."""
    asset: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = ()
    """Asset; may be repeated. Else all that have a price, by GET /assets."""
    exchange: str | None = None
    """Only this exchange may answer."""


@dataclass(frozen=True, kw_only=True)
class How:
    """How hard, how long."""

    http: Flag = False
    """Ask by HTTP instead of UDP."""
    segment: Flag = False
    """UDP: a socket's window leaves as one UDP_SEGMENT send, answers may arrive merged."""
    levels: str | None = None
    """Closed loop: requests in flight, such as 30,90,300. Default: 300."""
    ladder: Flag = False
    """The 13 levels from 30 to 21,000."""
    window: Annotated[int, Parameter(validator=Number(gte=0, lte=LOAD_WINDOW_MAX))] = 0
    """UDP: requests in flight on one socket; 0: few (with --segment 64). The level decides the number of sockets."""
    pipeline: Annotated[int, Parameter(validator=Number(gte=1, lte=LOAD_WINDOW_MAX))] = 1
    """HTTP: requests in flight on one connection."""
    sockets: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    """So many sockets or connections, instead of --window or --pipeline."""
    rate: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    """Open loop: requests a second by the clock; latencies count from the time each was due."""
    seconds: Annotated[float | None, Parameter(validator=Number(gt=0))] = None
    """Duration of each level. Default: 10; of the ladder, 3."""
    sustain: str | None = None
    """The same, as 90s, 30m or 2h."""
    timeout_ms: Annotated[int, Parameter(validator=Number(gte=1, lte=60_000))] = 1000
    """A request without an answer for so long is lost."""

    @property
    def protocol(self) -> Protocol:
        """As the load client names it."""
        return "http" if self.http else "udp-segment" if self.segment else "udp"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What every level must keep; a wrong answer always fails."""

    max_loss: Percent = 0.0
    """Percent lost, or not even sent in time."""
    max_refused: Percent = 0.0
    """Percent answered with an error."""
    max_p50_us: float | None = None
    """Median latency."""
    max_p99_us: float | None = None
    """99th percentile."""
    max_p999_us: float | None = None
    """99.9th percentile."""
    min_rate: float = 0.0
    """Right answers a second."""
    max_age_ms: Annotated[int | None, Parameter(validator=Number(gte=0))] = None
    """An older price is a wrong answer."""

    @property
    def limits(self) -> Limits:
        """Those that the figures are held against."""
        return msgspec.convert({f: getattr(self, f) for f in Limits.__struct_fields__}, Limits)


@app.default
def stress(  # noqa: D417 - the groups document themselves
    *,
    who: Annotated[Who, Parameter(name="*", group=WHO)] = Who(),
    how: Annotated[How, Parameter(name="*", group=LOAD)] = How(),
    thresholds: Annotated[Thresholds, Parameter(name="*", group=VERDICT)] = Thresholds(),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Load a server of your own and check every answer: its id, its asset, its form, its age.

    Exit code 0 when all levels keep the thresholds, 1 when one does not. Ctrl-C ends the test with the figures so far.

    Args:
        as_json: Print the result as one line of JSON.
    """
    levels, seconds = _levels(how), _seconds(how)
    if how.segment and not udp_segment():
        raise BeastError("this kernel has no UDP_SEGMENT", where="--segment", todo="leave it out, or use Linux 5.0+")
    raise_file_limit()
    asked = _Asked.find(who, how, thresholds.max_age_ms)
    asked.ask_once()
    report = Report(Console(stderr=as_json, highlight=False), asked.about(), thresholds.limits)
    with report:
        for level in levels:
            report.begin(level, seconds)
            outcome = drive(asked.load(level, seconds), report.tick)
            report.end(outcome)
            if outcome.interrupted or outcome.failure:
                break
    report.conclude(as_json=as_json)
    if report.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if report.reasons else 0


def _levels(how: How) -> list[Level]:
    ways = {"--levels": bool(how.levels), "--ladder": how.ladder, "--rate": bool(how.rate)}
    if sum(ways.values()) > 1:
        given = " and ".join(name for name, there in ways.items() if there)
        raise UsageError("exclude each other", where=given, todo="give one")
    if how.http and how.segment:
        raise UsageError("exclude each other", where="--http and --segment", todo="give one")
    if how.rate:
        return [Level(sockets=how.sockets or 100, rate=how.rate)]
    text = how.levels or "300"
    if re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", text) is None:
        raise UsageError(f"{text!r} is no list of numbers", where="--levels", todo="such as 30,90,300")
    try:
        wanted = LADDER if how.ladder else tuple(map(int, text.split(",")))
        return [closed_level(each, sockets=how.sockets, window=_window(how)) for each in wanted]
    except ValueError as error:
        raise UsageError(str(error), where="--levels") from error


def _window(how: How) -> int:
    """Requests in flight on one socket; 0: as few as there may be."""
    if how.sockets:
        return 0
    if how.http:
        return how.pipeline
    return how.window or (LOAD_WINDOW_MAX if how.segment else 0)


def _seconds(how: How) -> float:
    if not how.sustain:
        return how.seconds or (LADDER_SECONDS if how.ladder else SECONDS)
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", how.sustain)
    if parts is None or how.seconds is not None:
        raise UsageError(f"{how.sustain} is no duration", where="--sustain", todo="90s, 30m or 2h, without --seconds")
    return float(parts[1]) * UNITS[parts[2]]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Whom the load client asks, what, and how."""

    host: str
    """Numeric."""
    port: int
    how: How
    keys: list[bytes]
    assets: list[bytes]
    exchange: bytes
    max_age_ms: int | None

    @classmethod
    def find(cls, who: Who, how: How, max_age_ms: int | None) -> "_Asked":
        """Raises BeastError when there is nobody to ask, or nothing."""
        target = find_target(who.target, who.key[0] if who.key else None)
        port = target.http_port if how.http else target.udp_port
        host = _numeric(target.host, port)
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback and not (who.target and who.i_own_this_host):
            raise UsageError(
                "is not this machine", where=f"{target.host}:{port}", todo="give --target and --i-own-this-host"
            )
        keys = [*(who.key or ([target.api_key] if target.api_key else [])), *_read_keys(who.keys_file)]
        if not keys:
            raise UsageError("no API key", where="--key", todo="give one, or BEAST_API_KEY")
        assets = [asset.upper() for asset in who.asset] or _priced_assets(target, keys[0], who.exchange)
        return cls(
            host=host,
            port=port,
            how=how,
            keys=[key.encode() for key in keys],
            assets=[asset.encode() for asset in assets],
            exchange=(who.exchange or "").lower().encode(),
            max_age_ms=max_age_ms,
        )

    def about(self) -> dict[str, object]:
        """What the result says of the test as a whole."""
        return {
            "protocol": self.how.protocol,
            "target": f"{self.host}:{self.port}",
            "keys": len(self.keys),
            "assets": len(self.assets),
        }

    def load(self, level: Level, seconds: float, *, one: bool = False) -> Load:
        """The load client for one level; `one`: for one request."""
        try:
            return Load(
                protocol=self.how.protocol,
                host=self.host,
                port=self.port,
                keys=self.keys[:1] if one else self.keys,
                assets=self.assets[:1] if one else self.assets,
                exchange=self.exchange,
                sockets=level.sockets,
                in_flight=level.in_flight,
                rate=level.rate,
                duration_ns=max(1, round(seconds * 1e9)),
                timeout_ns=self.how.timeout_ms * 1_000_000,
                max_age_ms=self.max_age_ms,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    def ask_once(self) -> None:
        """One request before the many. Raises BeastError when it gets no price: more of the same would tell less."""
        load = self.load(Level(sockets=1, in_flight=1), 0, one=True)
        failure, figures = "", Figures()
        try:
            load.run()
            figures = figures_of(load)
        except OSError as error:
            failure = error.strerror or str(error)
        if figures.answered:
            return
        name = self.assets[0].decode()
        if figures.refused:
            raise BeastError(f"refused: {next(iter(figures.refused))}", where=name, todo="another --asset or --key")
        if figures.wrong:
            raise BeastError(f"{_fault(figures)}: {figures.sample.decode(errors='replace')}", where=name)
        raise BeastError(
            f"no answer{f': {failure}' if failure else ''}",
            where=f"{'http' if self.how.http else 'udp'}://{self.host}:{self.port}",
            todo="is the server running, and the key right? short requests without a valid key get no answer",
        )


def _fault(figures: Figures) -> str:
    return dict(LOAD_FAULTS)[next(iter(figures.wrong))]


def _numeric(host: str, port: int) -> str:
    try:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4][0])
    except OSError as error:
        raise BeastError(f"unknown host: {error.strerror}", where=host) from error


def _read_keys(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't be read: {error}", where=str(path)) from error


def _priced_assets(target: Target, key: str, exchange: str | None) -> list[str]:
    """All assets that have a price now."""
    code, body = http_get(target, "/assets", {})
    if code != 200:  # noqa: PLR2004 - HTTP's own number
        raise BeastError(f"HTTP {code}", where=f"{target.http_address}/assets", todo="give --asset")
    names = [each["asset"] for each in json.loads(body)["assets"]]
    only = f"&exchange={exchange}" if exchange else ""
    priced: list[str] = []
    for start in range(0, len(names), ASSETS_A_REQUEST):
        some = ",".join(names[start : start + ASSETS_A_REQUEST])
        _, body = http_get(target, f"/prices?assets={some}{only}", {"X-API-Key": key})
        priced += [each["asset"] for each in json.loads(body).get("prices", ()) if "price" in each]
    if not priced:
        raise BeastError("no asset has a price", where=target.http_address, todo="give --asset and check the key")
    return priced
