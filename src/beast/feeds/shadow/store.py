"""The statements of drafts and versions, and the two transactions that change rows by them."""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from beast.base.errors import BeastError
from beast.feeds.rows.files import Exchange
from beast.feeds.shadow.change import digest, merge, without
from beast.feeds.shadow.ripening import Outlook, Progress
from beast.feeds.shadow.types import Change, Draft, DraftDetail, PastMinute, Verdict, Version
from beast.feeds.store import read_exchange, write_difference
from beast.feeds.types import Feed, Mapping
from beast.storage.database import Connection, Database
from beast.storage.queries import Queries

CHANNEL: Final = "beast_feed_drafts"
"""Notified, with the exchange's name as payload, when a draft is started or its state changes."""
ASSETS_MAX: Final = 500
"""Assets kept of one minute."""
REASON_MAX: Final = 2_000

FRESH: Final = timedelta(minutes=3)
"""What was compared longer ago does not go live."""

_QUERIES = Queries("beast.feeds.shadow")
_RUNNING: Final = {"shadow", "agreeing"}
_AnyDraft = TypeVar("_AnyDraft", bound=Draft)


class NoDraftError(BeastError):
    """There is no draft of this number."""


class NotNowError(BeastError):
    """The draft is not in a state for this."""


class Terms(NamedTuple):
    """What a draft must reach; None: what the parameters say by then."""

    bps: int | None = None
    minutes: int | None = None
    auto: bool = True


class DraftStore:
    """Drafts and versions. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_drafts(
        self, exchange: str | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[Draft]:
        """The newest first, of one exchange or of all, without their assets."""
        values = {"exchange": exchange, "before": before, "limit": limit}
        return [_typed(row) for row in await self._database.fetch(_QUERIES["drafts"], values, row=Draft)]

    async def find(self, draft_id: int) -> DraftDetail:
        """All of one draft. Raises NoDraftError."""
        found = await self._database.fetch_one(_QUERIES["draft"], {"id": draft_id}, row=DraftDetail)
        if found is None:
            raise _missing(draft_id)
        return _typed(found)

    async def at_work(self) -> list[DraftDetail]:
        """Those that run, and of each exchange the newest that went live."""
        return [_typed(row) for row in await self._database.fetch(_QUERIES["drafts_at_work"], row=DraftDetail)]

    async def start(self, change: Change, terms: Terms, *, who: str, at: datetime) -> DraftDetail:
        """Stores a draft, which the node that leads then runs.

        Raises:
            RowsError: What it makes of the rows can't be meant.
            NotNowError: One of this exchange runs already, or it changes nothing.
            BeastError: The terms make no sense, or the rows there are can't be read.
        """
        for name, value, most in (("bps", terms.bps, 10_000), ("minutes", terms.minutes, 10_080)):
            if value is not None and not 1 <= value <= most:
                raise BeastError(f"{name} = {value} is not from 1 to {most}", where=change.exchange)
        async with self._database.transaction() as connection:
            current = await _current(connection, change)
            rows = await merge(change, current)
            if current is not None and digest(rows) == digest(current):
                raise NotNowError("the draft changes nothing", where=change.exchange)
            values = {
                "exchange": rows.feed.name,
                "who": who,
                "at": at,
                "change": msgspec.json.encode(change).decode(),
                **terms._asdict(),
            }
            made = await (await connection.execute(_QUERIES["start_draft"], values)).fetchone()
        if made is None:
            raise NotNowError("a draft of this exchange runs already", where=change.exchange, todo="reject it first")
        return await self.find(made[0])

    async def preview(self, change: Change) -> tuple[Exchange, bool]:
        """What a change makes of the rows as they are, and whether the exchange is there, but switched off.

        Raises RowsError when that can't be meant.
        """
        async with self._database.transaction() as connection:
            current = await _current(connection, change)
        return await merge(change, current), current is not None and not current.feed.enabled

    async def judge(self, draft: Draft, progress: Progress, outlook: Outlook, verdict: Verdict, tested: str) -> None:
        """Keeps what a minute has shown; of a draft that is over, nothing."""
        minute = PastMinute(verdict.at, verdict.kind, verdict.why, verdict.worst_bps)
        await self._database.execute(
            _QUERIES["judge_draft"],
            {
                "id": draft.id,
                "tested": tested,
                "agreed": progress.agreed,
                "proven": sorted(progress.proven),
                "ripe": outlook.ripe,
                "waits_for": outlook.waits_for[:REASON_MAX],
                "at": verdict.at,
                "verdict": _evidence(verdict),
                "minute": msgspec.json.encode(minute).decode(),
            },
        )

    async def promote(self, draft_id: int, *, who: str, at: datetime) -> int:
        """Makes a draft the live rows, in one transaction; returns their version.

        Raises:
            NoDraftError: There is none of this number.
            NotNowError: It is over, has not agreed for long enough, or isn't what was compared.
            RowsError: What it makes of the rows can't be meant any more.
        """
        async with self._database.transaction() as connection:
            draft = await _lock(connection, draft_id)
            if draft.state not in _RUNNING:
                raise NotNowError(f"it is {draft.state.replace('_', ' ')}", where=f"draft {draft_id}")
            if not draft.ripe or draft.judged_at is None:
                raise NotNowError(f"it waits for {draft.waits_for}", where=f"draft {draft_id}")
            if at - draft.judged_at > FRESH:
                raise NotNowError(
                    "nobody has compared it lately", where=f"draft {draft_id}", todo="is a server running?"
                )
            current = await read_exchange(connection, draft.exchange)
            rows = await merge(msgspec.convert(draft.change, Change), current)
            if digest(rows) != draft.tested:
                todo = "it is compared anew as they are"
                raise NotNowError("the rows have changed meanwhile", where=f"draft {draft_id}", todo=todo)
            base = await _newest(connection, draft.exchange) if current else None
            version = await _write(connection, current, rows, who=f"{who}, draft {draft_id}")
            values = {"id": draft_id, "base": base, "version": version, "at": at, "who": who}
            await connection.execute(_QUERIES["go_live"], values)
        return version

    async def reject(self, draft_id: int, *, who: str, at: datetime, reason: str = "") -> None:
        """Ends a draft that runs. Raises NoDraftError, or NotNowError when it is over."""
        values = {"id": draft_id, "who": who, "at": at, "reason": reason[:REASON_MAX]}
        if not await self._database.execute(_QUERIES["reject_draft"], values):
            draft = await self.find(draft_id)
            raise NotNowError(f"it is {draft.state.replace('_', ' ')}", where=f"draft {draft_id}")

    async def fall_back(self, draft_id: int, verdict: Verdict, *, who: str, reason: str, at: datetime) -> int | None:
        """Takes back what a draft has changed; returns the version that makes, None when nothing of it is left.

        What others have changed since stays. An exchange that the draft has brought is switched off.

        Raises:
            BeastError: The versions can't be read any more.
        """
        async with self._database.transaction() as connection:
            draft = await _lock(connection, draft_id)
            current = await read_exchange(connection, draft.exchange)
            if draft.state != "live" or draft.version is None or current is None:
                return None
            if draft.base is None:
                rows = Exchange(msgspec.structs.replace(current.feed, enabled=False), current.assets)
            else:
                base = await _version(connection, draft.exchange, draft.base)
                rows = without(await _version(connection, draft.exchange, draft.version), base, current)
            if digest(rows) == digest(current):
                return None
            version = await _write(connection, current, rows, who=f"{who}, draft {draft_id}")
            values = {
                "id": draft_id,
                "at": at,
                "who": who,
                "reason": reason[:REASON_MAX],
                "verdict": _evidence(verdict),
            }
            await connection.execute(_QUERIES["fall_back"], values)
        return version

    async def versions(self, exchange: str, *, limit: int = 100) -> list[Version]:
        """The versions of an exchange's rows, the newest first; the last hundred are kept."""
        return await self._database.fetch(_QUERIES["versions"], {"exchange": exchange, "limit": limit}, row=Version)


class _Locked(msgspec.Struct):
    """What a decision on a draft rests on."""

    exchange: str
    state: str
    tested: str
    ripe: bool
    judged_at: datetime | None
    waits_for: str
    base: int | None
    version: int | None
    change: dict[str, Any]


async def _lock(connection: Connection, draft_id: int) -> _Locked:
    found = await (await connection.execute(_QUERIES["lock_draft"], {"id": draft_id})).fetchone()
    if found is None:
        raise _missing(draft_id)
    return _Locked(*found)


async def _current(connection: Connection, change: Change) -> Exchange | None:
    """The rows there are; of a name that can't be one, none."""
    return None if "\0" in change.exchange else await read_exchange(connection, change.exchange)


async def _write(connection: Connection, current: Exchange | None, rows: Exchange, *, who: str) -> int:
    """Makes the rows these; returns their version."""
    await connection.execute(_QUERIES["set_who"], {"who": who})
    await write_difference(connection, current, rows)
    await connection.execute(_QUERIES["keep_versions"])
    return await _newest(connection, rows.feed.name)


async def _newest(connection: Connection, exchange: str) -> int:
    found = await (await connection.execute(_QUERIES["newest_version"], {"exchange": exchange})).fetchone()
    assert found, "an aggregate has a row"
    return int(found[0])


async def _version(connection: Connection, exchange: str, number: int) -> Exchange:
    """The rows of one version. Raises BeastError when they are gone, or can't be read."""
    values = {"exchange": exchange, "number": number}
    found = await (await connection.execute(_QUERIES["version_rows"], values)).fetchone()
    if found is None or found[0] is None:
        raise BeastError(f"version {number} is not kept any more", where=exchange)
    try:
        assets = msgspec.convert([{**row, "category": row.get("category") or ""} for row in found[1]], list[Mapping])
        named = tuple(msgspec.structs.replace(row, exchange=exchange) for row in assets)
        return Exchange(msgspec.convert(found[0], Feed), named)
    except msgspec.ValidationError as error:
        raise BeastError(f"version {number} can't be read: {error}", where=exchange) from None


def _typed(row: _AnyDraft) -> _AnyDraft:
    """A row as its type says, JSON columns included."""
    return msgspec.convert(msgspec.structs.asdict(row), type(row))


def _evidence(verdict: Verdict) -> str:
    more = max(len(verdict.assets) - ASSETS_MAX, 0)
    kept = msgspec.structs.replace(verdict, assets=verdict.assets[:ASSETS_MAX], more_assets=more)
    return msgspec.json.encode(kept).decode()


def _missing(draft_id: int) -> NoDraftError:
    return NoDraftError(f"there is no draft {draft_id}", todo="beast feeds shadow list shows those there are")
