"""beast audit: who changed what."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from cyclopts import App

from beast.accounts.audit import AuditRow, Trail
from beast.base.clock import SystemClock
from beast.base.errors import UsageError
from beast.cli.account_tables import AsJson, account_database, print_row

PAGE = 500

app = App(
    name="audit",
    help="Show the audit log: who changed what, when and from where; the newest first.",
    help_epilogue="""Examples:
  beast audit
  beast audit --subject "key 17"
  beast audit --action key. --limit 20 --json""",
)


@app.default
def audit(
    *,
    limit: int = 50,
    action: str = "",
    subject: str = "",
    actor: str = "",
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """Show the audit log, the newest first.

    Args:
        limit: As many entries at most; 0: all.
        action: Only actions that begin so, such as key. or tier.set.
        subject: Only what was done to one thing, such as "key 17".
        actor: Only what one did, such as operator or cli:root.
        as_json: Print one JSON object a line.
        config: TOML file; else BEAST_CONFIG.
    """
    if limit < 0:
        raise UsageError(f"{limit} is no number of entries", where="--limit")

    async def entries() -> AsyncIterator[AuditRow]:
        async with account_database(config) as database:
            trail = Trail(database, SystemClock())
            left, before = limit or sys.maxsize, None
            while left and (
                page := await trail.list_rows(
                    before=before, limit=min(PAGE, left), action=action, subject=subject, actor=actor
                )
            ):
                left, before = left - len(page), page[-1].id
                for row in page:
                    yield row

    async def work() -> None:
        async for row in entries():
            if as_json:
                print_row(row)
                continue
            who = f"{row.actor}@{row.address}" if row.address else row.actor
            sys.stdout.write(f"{row.at:%Y-%m-%d %H:%M:%S}  {who}  {row.action}  {row.subject}{_changes(row)}\n")

    asyncio.run(work())


def _changes(row: AuditRow) -> str:
    after = row.after or {}
    if row.before is None:
        return f"  {_text(after)}" if after else ""
    told = [f"{name}: {_text(row.before.get(name))} -> {_text(value)}" for name, value in after.items()]
    return "  " + ", ".join(told)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
