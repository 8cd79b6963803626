"""beast report: what a running server has answered, as tables here or as a file."""

import http.client
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, Self
from urllib.parse import urlencode

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from beast.base.errors import BeastError, UsageError
from beast.cli.common import Target, check_key, find_target, print_json

TIMEOUT_S = 300.0
"""A long report may take the database and its builder a minute each."""

app = App(
    name="report",
    help_epilogue="""Examples:
  beast report
  beast report --period yesterday --group asset,hour
  beast report --from 2026-11-01 --to 2026-11-15 --group day/asset --asset BTC,ETH
  beast report --format pdf --out november.pdf --period 2026-11
  beast report --key tb_... --server http://10.0.0.5:9090 --json
  beast report records --asset BTC --status stale --limit 20
  beast report made
  beast report addon 17 --on""",
)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


class Where(msgspec.Struct, frozen=True):
    """Whom to ask, as who."""

    target: Target
    path: str
    """`/report`, or the operator's."""
    headers: dict[str, str]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Meant:
    """Which answers are meant.

    Args:
        period: today, yesterday, 7d, 30d, month, 2026-11 or 2026-11-26; else the last 30 days.
        since: A day, or a time such as 2026-11-26T12:00:00Z; instead of --period.
        until: The first moment that is no longer part of it; else now.
        asset: Only this one, or these, joined by commas; so with all that follow.
        exchange: Only this one.
        source: Only this one, such as coinbase-ws.
        node: Only this one.
        protocol: udp or http.
        status: live, quiet or stale.
        tier: 1, 2 or 3.
        key_id: Only the API key of this id.
    """

    period: str | None = None
    since: Annotated[str | None, Parameter(name="--from")] = None
    until: Annotated[str | None, Parameter(name="--to")] = None
    asset: str | None = None
    exchange: str | None = None
    source: str | None = None
    node: str | None = None
    protocol: str | None = None
    status: str | None = None
    tier: str | None = None
    key_id: str | None = None

    def wanted(self) -> dict[str, str | None]:
        """As the server's parameters."""
        names = {"since": "from", "until": "to", "status": "state", "key_id": "key"}
        return {names.get(name, name): value for name, value in asdict(self).items()}


ALL = Meant()


@app.default
def report(
    *,
    meant: Meant = ALL,
    group: str | None = None,
    form: Annotated[Literal["json", "csv", "xlsx", "pdf"] | None, Parameter(name="--format")] = None,
    out: Path | None = None,
    key: str | None = None,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show what was answered, in figures; with the operator's key of all API keys, with --key of that one.

    Args:
        meant: Which answers.
        group: asset, exchange, source, node, protocol, state, tier, day, hour, key: several joined by commas, two
            with a slash between: day/asset.
        form: Write it as it comes: json, csv, xlsx or pdf.
        out: The file to write it to; else standard output.
        key: An API key with the scope report; else BEAST_API_KEY.
        server: HOST, HOST:PORT or http://HOST:PORT of the report port; else the server that runs on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print one JSON object.
    """
    wanted = {**meant.wanted(), "group": group, "format": form or "json"}
    where = _where(server, key, admin_key)
    if form is not None or as_json:
        _fetch(where, "", wanted, out)
    else:
        _show(Console(highlight=False), json.loads(_read(where, "", wanted)))


@app.command
def records(
    *,
    meant: Meant = ALL,
    after: str | None = None,
    limit: int = 100,
    form: Annotated[Literal["json", "csv"], Parameter(name="--format")] = "csv",
    out: Path | None = None,
    key: str | None = None,
    server: str | None = None,
    admin_key: str | None = None,
) -> None:
    """Show the records behind a number, the oldest first; these do not count as reports.

    Args:
        meant: Which answers.
        after: Where the page begins: the last column of the last line before.
        limit: Records, 1 to 1,000,000.
        form: csv or json.
        out: The file to write them to; else standard output.
        key: An API key with the scope report; else BEAST_API_KEY.
        server: HOST, HOST:PORT or http://HOST:PORT of the report port.
        admin_key: The operator's key.
    """
    wanted = {**meant.wanted(), "after": after, "limit": str(limit), "format": form}
    _fetch(_where(server, key, admin_key), "/records", wanted, out)


@app.command
def limit(*, key: str | None = None, server: str | None = None) -> None:
    """Show how many reports an API key's owner has made this month, and may make, as JSON.

    Args:
        key: An API key with the scope report; else BEAST_API_KEY, else the demo's.
        server: HOST, HOST:PORT or http://HOST:PORT of the report port.
    """
    target = find_target(server, key, side="reports")
    print_json(_read(Where(target, "/report", {"X-API-Key": target.api_key}), "/limit", {}))


@app.command
def made(
    *,
    key_id: int | None = None,
    limit: int = 20,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: AsJson = False,
) -> None:
    """List the reports that were made: by whom, of what, how long that took.

    Args:
        key_id: Only those of the API key of this id.
        limit: As many of the newest.
        server: HOST, HOST:PORT or http://HOST:PORT of the report port.
        admin_key: The operator's key.
        as_json: Print one JSON object.
    """
    wanted = {"key": None if key_id is None else str(key_id), "limit": str(limit)}
    body = _read(_operator(server, admin_key), "/made", wanted)
    if as_json:
        print_json(body)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "at", "key", "kind", "format", "rows", "bytes", "ms", "state", "query"):
        table.add_column(title)
    for each in json.loads(body)["made"]:
        who = "operator" if each["key_id"] is None else str(each["key_id"])
        figures = (f"{each[name]:,}" for name in ("rows", "bytes", "ms"))
        row = (
            str(each["id"]),
            each["at"][:19],
            who,
            each["kind"],
            each["format"],
            *figures,
            each["state"],
            each["query"],
        )
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


@app.command
def addon(
    key_id: Annotated[int, Parameter(name="KEY")],
    /,
    *,
    on: Annotated[bool, Parameter(name="--on", negative="--off")],
    server: str | None = None,
    admin_key: str | None = None,
) -> None:
    """Give a customer the add-on that lifts the limit of reports (--on), or take it (--off).

    Args:
        key_id: Any API key of the customer's, by id.
        on: Whether reports are unlimited, where the tier says that the add-on may be bought.
        server: HOST, HOST:PORT or http://HOST:PORT of the report port.
        admin_key: The operator's key.
    """
    sent = json.dumps({"key": key_id, "unlimited": on}).encode()
    told = json.loads(_read(_operator(server, admin_key), "/addon", {}, sent))
    state = "unlimited" if told["unlimited"] else "limited by the tier"
    sys.stdout.write(f"reports of key {key_id} are {state}{'' if told['changed'] else ', as they were'}\n")


def _where(server: str | None, key: str | None, admin_key: str | None) -> Where:
    """The operator's reports, unless an API key is given."""
    if admin_key is not None and key is not None:
        raise UsageError("--key and --admin-key can't both be meant", todo="give one")
    target = find_target(server, key, side="reports")
    if key is not None or (admin_key is None and not target.admin_key):
        check_key(target.api_key, "--key")
        return Where(target, "/report", {"X-API-Key": target.api_key})
    return _operator(server, admin_key)


def _operator(server: str | None, admin_key: str | None) -> Where:
    target = find_target(server, None, side="reports")
    admin_key = admin_key or target.admin_key
    check_key(admin_key, "--admin-key")
    return Where(target, "/admin/report", {"X-Admin-Key": admin_key})


def _read(where: Where, below: str, wanted: dict[str, str | None], sent: bytes | None = None) -> bytes:
    """The body of one answer."""
    connection, answer = _ask(where, below, wanted, sent)
    with connection:
        return answer.read()


def _fetch(where: Where, below: str, wanted: dict[str, str | None], out: Path | None) -> None:
    """One answer into a file, or to standard output, as it comes."""
    connection, answer = _ask(where, below, wanted)
    with connection:
        try:
            if out is None:
                _copy(answer, sys.stdout.buffer)
                return
            with out.open("wb") as file:
                _copy(answer, file)
        except http.client.HTTPException as error:
            raise BeastError(
                "the answer ended in the middle", where=where.target.http_address, todo="ask again"
            ) from error
        except OSError as error:
            raise BeastError(f"can't be written: {error.strerror}", where=str(out or "standard output")) from error


def _copy(answer: http.client.HTTPResponse, to: BinaryIO) -> None:
    shutil.copyfileobj(answer, to)
    to.flush()


class _Connection(http.client.HTTPConnection):
    """One that closes at the end of a with block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ask(
    where: Where, below: str, wanted: dict[str, str | None], sent: bytes | None = None
) -> tuple[_Connection, http.client.HTTPResponse]:
    """The connection and the answer, whose head says that it is a good one.

    Raises:
        BeastError: there is none, or it is a refusal.
    """
    query = urlencode({name: value for name, value in wanted.items() if value is not None}, safe=":,/~")
    connection = _Connection(where.target.host, where.target.http_port, timeout=TIMEOUT_S)
    try:
        connection.request("GET" if sent is None else "POST", f"{where.path}{below}?{query}", sent, where.headers)
        answer = connection.getresponse()
        if answer.status == HTTPStatus.OK:
            return connection, answer
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        reason = str(error) or type(error).__name__
        todo = "is the server running, and does it serve reports?"
        raise BeastError(f"no answer: {reason}", where=where.target.http_address, todo=todo) from error
    connection.close()
    try:
        reason = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        reason = "no reason given"
    raise BeastError(f"HTTP {answer.status}: {reason}", where=where.target.http_address)


def _show(console: Console, told: dict[str, Any]) -> None:
    about = told["report"]
    keys = "all API keys" if about["keys"] is None else f"API keys {', '.join(str(key) for key in about['keys'])}"
    console.print(f"{about['from'][:19]} to {about['to'][:19]} UTC, {keys}", markup=False)
    for by, rows in [([], [told["totals"]]), *((each["by"], each["rows"]) for each in told["groups"])]:
        table = Table(box=None, pad_edge=False)
        for title in by or ["total"]:
            table.add_column(title)
        for title in ("answers", "share", "prices", "p50", "p95", "p99", "hit rate"):
            table.add_column(title, justify="right")
        for row in rows:
            names = [str(row[name]) for name in by] or [""]
            table.add_row(*names, *_figures(row))
        console.print()
        console.print(table, markup=False)


def _figures(row: dict[str, Any]) -> list[str]:
    share, hits = (f"{row[name] * 100:.1f} %" if row[name] is not None else "-" for name in ("share", "hit_rate"))
    latencies = (f"{row[name]:,.1f} µs" if row[name] is not None else "-" for name in ("p50_us", "p95_us", "p99_us"))
    return [f"{row['answers']:,}", share, f"{row['prices']:,}", *latencies, hits]
