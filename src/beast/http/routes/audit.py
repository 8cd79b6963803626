"""The audit log, for the operator."""

import msgspec
from litestar import get

from beast.accounts.audit import AuditRow
from beast.http.routes.accounts import Limit, MaybeNumber, Text, TheAccounts, next_page, refusals


class AuditPage(msgspec.Struct, frozen=True):
    """A page of the audit log."""

    entries: list[AuditRow]
    next: int | None
    """The `before` of the next page; null: this is the last."""


@get("/audit", summary="Who changed what: the audit log, the newest first", responses=refusals())
async def get_audit_log(
    accounts: TheAccounts,
    *,
    before: MaybeNumber = None,
    limit: Limit = 100,
    action: Text = "",
    subject: Text = "",
    actor: Text = "",
) -> AuditPage:
    """Of actions that begin with a text, of one subject such as `key 17`, or of one actor."""
    entries = await accounts.trail.list_rows(before=before, limit=limit, action=action, subject=subject, actor=actor)
    return AuditPage(entries, next_page(len(entries), limit, entries[-1].id if entries else 0))


ROUTES = [get_audit_log]
