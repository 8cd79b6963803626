"""beast why: why a running server answers an asset as it does."""

from typing import Annotated, Any, Final
from urllib.parse import quote

from cyclopts import App, Parameter
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from beast.cli.common import admin_get, exact, print_json

WIDE: Final = 150
"""Columns of a terminal in which everything finds room side by side."""

app = App(
    name="why",
    help_epilogue="""Examples:
  beast why BTC
  beast why BTC --json
  BEAST_ADMIN_KEY=... beast why BTC --server http://10.0.0.5:8080""",
)


@app.default
def why(
    asset: Annotated[str, Parameter(name="ASSET", negative=())],
    /,
    *,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Explain an asset's price: every source with its last trade, age and state, and which one answers.

    Args:
        asset: What to explain.
        server: HOST, HOST:PORT or http://HOST:PORT; else the server that runs on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print everything as one JSON object.
    """
    body = admin_get(f"/admin/why?asset={quote(asset, safe='')}", server, admin_key)
    if as_json:
        print_json(body)
    else:
        _show(Console(highlight=False), exact(body))


def _show(console: Console, told: dict[str, Any]) -> None:
    answer = told["answer"]
    shown = " ".join(str(answer[name]) for name in ("price", "currency", "exchange", "state") if name in answer)
    tier = f"tier {told['tier']}" if told["tier"] is not None else "memory does not answer"
    console.print(f"{told['asset']}  {shown or answer.get('error', '')}  ({tier}: {told['why']})")
    if told["consensus"] is not None:
        agreed = told["consensus"]
        price = agreed.get("price", agreed.get("message", agreed.get("error", "")))
        console.print(f"consensus: {price} {agreed.get('currency', '')}".rstrip())
    if told["rows_from"] == "memory":
        console.print("the database is away: row versions and rows that are switched off are not shown")
    wide = console.width >= WIDE
    table = Table(box=None, pad_edge=False)
    for title in ("", "source", "price", "age", "state", "link", "consensus", *(("row of", "why") if wide else ())):
        table.add_column(title)
    for each in told["sources"]:
        table.add_row(
            "->" if each["answers"] else "",
            f"{each['exchange']} {each['symbol']} ({each['priority']})",
            f"{each['price'] or 'none'} {each['currency']}",
            "" if each["age_ms"] is None else f"{each['age_ms']} ms",
            each["state"] or "none",
            _link(each),
            each["consensus"],
            *((_version(each), _reasons(each)) if wide else ()),
        )
    console.print(table)
    if not wide:
        _show_reasons(console, told["sources"])


def _show_reasons(console: Console, sources: list[dict[str, Any]]) -> None:
    """Below the table, where a terminal has no room for them in it: a paragraph for each source, indented."""
    for each in sources:
        about = f"rows of {_version(each)}" if _version(each) else ""
        text = "; ".join(part for part in (_reasons(each), about) if part)
        if text:
            console.print(Padding(f"{each['exchange']}: {text}", (0, 0, 0, 3)))


def _reasons(source: dict[str, Any]) -> str:
    return "; ".join(text for text in (source["why"], source["feed_why"], _held(source)) if text)


def _link(source: dict[str, Any]) -> str:
    if not source["link_up"]:
        return "down"
    heard = source["link_proven_age_ms"]
    return "up, unheard" if heard is None else f"up, {heard} ms"


def _version(source: dict[str, Any]) -> str:
    """The version of the rows in force, and since when; else when the row was changed."""
    if source["version"] is None:
        return (source["row_updated_at"] or "")[:19]
    return f"v{source['version']} {source['version_at'][:19]}"


def _held(source: dict[str, Any]) -> str:
    return f"{source['waiting']} prices wait to be confirmed" if source["waiting"] else ""
