"""beast config: the effective settings."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from beast.base.config_sources import load_config

app = App(
    name="config",
    help="Show the effective settings and where each came from; secrets are masked.",
    help_epilogue="""Examples:
  beast config
  beast config --config /etc/beast.toml --json""",
)


@app.default
def show(
    *, config: Path | None = None, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """Show the effective settings and where each came from; secrets are masked.

    Args:
        config: TOML file; else BEAST_CONFIG.
        as_json: Print one JSON object: name to value and origin.
    """
    loaded = load_config(file=config)
    values = loaded.shown()
    if as_json:
        told = {name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()}
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("setting", "value", "from"):
        table.add_column(title)
    for name, value in values.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value) or "-"
        table.add_row(name, shown, loaded.origins[name])
    Console(highlight=False, markup=False).print(table)
