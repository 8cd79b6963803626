"""beast keys: API keys."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from beast.accounts.service import Accounts
from beast.accounts.types import ApiKey
from beast.base.clock import SystemClock
from beast.base.config_sources import load_config
from beast.base.log import configure_logging
from beast.storage.opening import open_database

PAGE = 1000

app = App(
    name="keys",
    help="Create, list and revoke API keys.",
    help_epilogue="""Examples:
  beast keys create --tier pro --label "Ada's laptop"
  beast keys create --tier free --expires 2027-01-01T00:00:00+00:00 --json
  beast keys list
  beast keys revoke 17
  beast keys revoke tb_x7Qw0pLm""",
)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def create(
    *,
    tier: str,
    label: str = "",
    expires: datetime | None = None,
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """Make a key and show it, this one time.

    Args:
        tier: free, pro, enterprise, unlimited, lifetime, partner, or a tier of your own.
        label: What it is for.
        expires: When it ends, with its time zone, such as 2027-01-01T00:00:00+00:00.
        as_json: Print one JSON object; the key is its api_key.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        async with _accounts(config) as accounts:
            key = await accounts.create_key(tier, label=label, expires_at=expires)
        if as_json:
            _print_json(key)
        else:
            sys.stdout.write(f"{key.api_key}\n")
            sys.stderr.write(f"key {key.id}, tier {key.tier}; it is shown only now: keep it\n")

    asyncio.run(work())


@app.command(name="list")
def list_keys(*, as_json: AsJson = False, config: Path | None = None) -> None:
    """List the keys: how each begins, its tier, and what it used this month.

    Args:
        as_json: Print one JSON object a line.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        table = Table(box=None, pad_edge=False)
        for title in ("id", "begins with", "tier", "state", "used", "month", "last used", "label"):
            table.add_column(title)
        async with _accounts(config) as accounts:
            after = 0
            while page := await accounts.list_keys(after=after, limit=PAGE):
                after = page[-1].id
                for key in page:
                    if as_json:
                        _print_json(key)
                        continue
                    month = f"{key.usage_month:%Y-%m}"
                    last = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
                    used = f"{key.current_usage:,}"
                    table.add_row(str(key.id), key.prefix, key.tier, _state(key), used, month, last, key.label)
        if not as_json:
            Console(highlight=False, markup=False).print(table)

    asyncio.run(work())


@app.command
def revoke(
    which: Annotated[str, Parameter(name="KEY", allow_leading_hyphen=False)], /, *, config: Path | None = None
) -> None:
    """Revoke one key for ever; running servers refuse it within a second.

    Args:
        which: Its id, how it begins (tb_...), or the whole key.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        async with _accounts(config) as accounts:
            key = await accounts.revoke_key(which)
        sys.stdout.write(f"key {key.id} ({key.prefix}…) is revoked\n")

    asyncio.run(work())


def _state(key: ApiKey) -> str:
    if not key.enabled:
        return "revoked" if key.revoked_at else "disabled"
    return "expired" if key.expires_at and key.expires_at <= datetime.now(UTC) else "active"


@asynccontextmanager
async def _accounts(file: Path | None) -> AsyncIterator[Accounts]:
    config = load_config(file=file).config
    configure_logging("warning", config.log_format)
    async with open_database(config, application_name="beast-keys", max_size=2) as database:
        yield Accounts(database, SystemClock())


def _print_json(value: msgspec.Struct) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
