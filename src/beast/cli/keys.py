"""beast keys: API keys."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from cyclopts import App, Parameter

from beast.accounts.audit import command_line
from beast.accounts.own_usage import Nothing, OwnUsage, Usage
from beast.accounts.service import GRACE, Accounts
from beast.accounts.types import DEFAULT_SCOPES, ApiKey, KeyChanges, NewKey, ShownKey, State, shown
from beast.accounts.users import Users
from beast.base.clock import SystemClock
from beast.base.errors import UsageError
from beast.cli.account_tables import (
    PAGE,
    AsJson,
    Which,
    account_database,
    print_row,
    print_table,
    several,
)

app = App(
    name="keys",
    help="Make, list, change, rotate, pause and revoke API keys.",
    help_epilogue="""Examples:
  beast keys create --tier pro --label "Ada's laptop" --user ada@example.org
  beast keys create --tier free --expires 2027-01-01T00:00:00+00:00 --json
  beast keys create --tier partner --scope price --network 10.0.0.0/8
  beast keys list --state paused
  beast keys show tb_x7Qw0pLm
  beast keys usage 17
  beast keys rotate 17 --grace-hours 48
  beast keys set 17 --tier enterprise --network 192.0.2.0/24,2001:db8::/32
  beast keys pause 17
  beast keys resume 17
  beast keys revoke tb_x7Qw0pLm""",
)

Result = TypeVar("Result")
Scopes = Annotated[list[str] | None, Parameter(name="--scope", negative=())]
Networks = Annotated[list[str] | None, Parameter(name="--network", negative=())]


@app.command
def create(
    *,
    tier: str,
    label: str = "",
    user: str | None = None,
    expires: datetime | None = None,
    scopes: Scopes = None,
    networks: Networks = None,
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """Make a key and show it, this one time.

    Args:
        tier: free, pro, enterprise, unlimited, lifetime, partner, or a tier of your own.
        label: What it is for.
        user: Whose it is: the id or address of a user.
        expires: When it ends, with its time zone, such as 2027-01-01T00:00:00+00:00.
        scopes: What it opens: price, report, push, admin; else price and report. May be repeated.
        networks: The only networks that it may be used from. May be repeated.
        as_json: Print one JSON object; the key is its api_key.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        async with account_database(config) as database:
            owner = None if user is None else (await Users(database, SystemClock()).find(user)).id
            key = await Accounts(database, SystemClock()).create_key(
                tier,
                label=label,
                expires_at=expires,
                user_id=owner,
                scopes=DEFAULT_SCOPES if scopes is None else several(scopes),
                networks=several(networks or []),
                by=command_line(),
            )
        _tell_new(key, as_json=as_json)

    asyncio.run(work())


@app.command(name="list")
def list_keys(
    *,
    state: State | None = None,
    tier: str | None = None,
    user: str | None = None,
    label: str | None = None,
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """List the keys: how each begins, its tier, and what it used this month.

    Args:
        state: Only those that are active, rotated, paused, expired, revoked or disabled.
        tier: Only those of one tier.
        user: Only those of one user, told by id or address.
        label: Only those with this text in their label.
        as_json: Print one JSON object a line.
        config: TOML file; else BEAST_CONFIG.
    """

    async def pages() -> AsyncIterator[ShownKey]:
        async with account_database(config) as database:
            owner = None if user is None else (await Users(database, SystemClock()).find(user)).id
            accounts = Accounts(database, SystemClock())
            after = 0
            while page := await accounts.list_keys(
                after=after, limit=PAGE, user_id=owner, tier=tier, state=state, label=label
            ):
                after = page[-1].id
                for key in page:
                    yield shown(key, accounts.now)

    async def work() -> None:
        rows = []
        async for key in pages():
            if as_json:
                print_row(key)
                continue
            used, month = key.current_usage, f"{key.usage_month:%Y-%m}"
            last = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
            rows.append((str(key.id), key.prefix, key.tier, key.state, used, month, last, key.label))
        if not as_json:
            print_table(("id", "begins with", "tier", "state", "used", "month", "last used", "label"), rows)

    asyncio.run(work())


@app.command
def show(which: Which, /, *, as_json: AsJson = False, config: Path | None = None) -> None:
    """Show all that may be shown of one key.

    Args:
        which: Its id, how it begins (tb_...), or the whole key.
        as_json: Print one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work(accounts: Accounts) -> ShownKey:
        return shown(await accounts.find_key(which), accounts.now)

    key = _with_accounts(config, work)
    if as_json:
        print_row(key)
        return
    for name, value in msgspec.structs.asdict(key).items():
        if name != "enabled":
            text = ", ".join(value) if isinstance(value, list) else value
            sys.stdout.write(f"{name.replace('_', ' '):<14} {'-' if text in (None, '') else text}\n")


@app.command
def usage(which: Which, /, *, as_json: AsJson = False, config: Path | None = None) -> None:
    """Show what a key has used this month, as its owner sees it at /usage; answers not yet booked are not in it.

    Args:
        which: Its id, how it begins (tb_...), or the whole key.
        as_json: Print one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> Usage:
        async with account_database(config) as database:
            key = await Accounts(database, SystemClock()).find_key(which)
            return await OwnUsage(database, SystemClock(), Nothing()).of(key)

    told = asyncio.run(work())
    if as_json:
        print_row(told)
        return
    cap = "no cap" if told.left is None else f"{told.left:,} of {told.limits.monthly_queries:,} left"
    sys.stdout.write(f"key {told.key_id} ({told.prefix}…), tier {told.tier}, {told.month}: {told.used:,} used, {cap}\n")
    for level in told.alerts:
        sys.stdout.write(f"{level.percent} % of the cap since {level.at:%Y-%m-%d %H:%M} UTC\n")
    print_table(("day", "answers"), [(day.day, day.answers) for day in told.days])
    print_table(("asset", "answers"), [(asset.asset, asset.answers) for asset in told.assets or []])


@app.command
def rotate(
    which: Which,
    /,
    *,
    grace_hours: float = GRACE.total_seconds() / 3600,
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """Make a key's successor and show it, this one time. Both are good until the grace is over, and share limits.

    Args:
        which: Its id, how it begins (tb_...), or the whole key.
        grace_hours: How long the old one goes on; 0: it ends now.
        as_json: Print one JSON object; the new key is its api_key.
        config: TOML file; else BEAST_CONFIG.
    """
    try:
        grace = timedelta(hours=grace_hours)
    except (OverflowError, ValueError):
        raise UsageError(f"{grace_hours} is no number of hours", where="--grace-hours") from None
    key = _with_accounts(config, lambda accounts: accounts.rotate_key(which, grace=grace, by=command_line()))
    _tell_new(key, as_json=as_json)


@app.command(name="set")
def set_key(
    which: Which,
    /,
    *,
    tier: str | None = None,
    label: str | None = None,
    user: str | None = None,
    expires: str | None = None,
    scopes: Scopes = None,
    networks: Networks = None,
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """Change a key; what is left out stays.

    Args:
        which: Its id, how it begins (tb_...), or the whole key.
        tier: Its tier, and that of the keys that it was rotated from or to.
        label: What it is for.
        user: Whose it is: the id or address of a user, or none.
        expires: When it ends, such as 2027-01-01T00:00:00+00:00, or never.
        scopes: All that it opens. May be repeated.
        networks: All networks that it may be used from, or any. May be repeated.
        as_json: Print the key as one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> ShownKey:
        async with account_database(config) as database:
            owner: int | msgspec.UnsetType | None = msgspec.UNSET
            if user is not None:
                owner = None if user == "none" else (await Users(database, SystemClock()).find(user)).id
            accounts = Accounts(database, SystemClock())
            wanted = KeyChanges(
                tier=msgspec.UNSET if tier is None else tier,
                label=msgspec.UNSET if label is None else label,
                expires_at=msgspec.UNSET if expires is None else _time(expires),
                user_id=owner,
                scopes=msgspec.UNSET if scopes is None else several(scopes),
                networks=msgspec.UNSET if networks is None else [each for each in several(networks) if each != "any"],
            )
            return shown(await accounts.update_key(which, wanted, by=command_line()), accounts.now)

    key = asyncio.run(work())
    _tell(key, "is changed", as_json=as_json)


def _add(name: str, act: Callable[..., Awaitable[ApiKey]], done: str, told: str) -> None:
    """Adds a command that does one thing to one key."""

    def command(which: Which, /, *, as_json: AsJson = False, config: Path | None = None) -> None:
        key = _with_accounts(config, lambda accounts: act(accounts, which, by=command_line()))
        _tell(shown(key, datetime.now(UTC)), done, as_json=as_json)

    command.__doc__ = f"""{told}

    Args:
        which: Its id, how it begins (tb_...), or the whole key.
        as_json: Print the key as one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """
    app.command(command, name=name)


_add(
    "pause",
    Accounts.pause_key,
    "is paused",
    "Have a key refused until it is resumed; running servers do so within a second.",
)
_add("resume", Accounts.resume_key, "is resumed", "End the pause of a key.")
_add(
    "revoke",
    Accounts.revoke_key,
    "is revoked",
    "Revoke one key for ever; running servers refuse it within a second.",
)


def _time(text: str) -> datetime | None:
    if text == "never":
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        todo = "such as 2027-01-01T00:00:00+00:00, or never"
        raise UsageError(f"{text!r} is no time", where="--expires", todo=todo) from None


def _tell_new(key: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_row(key)
        return
    sys.stdout.write(f"{key.api_key}\n")
    sys.stderr.write(f"key {key.id}, tier {key.tier}; it is shown only now: keep it\n")


def _tell(key: ShownKey, what: str, *, as_json: bool) -> None:
    if as_json:
        print_row(key)
    else:
        sys.stdout.write(f"key {key.id} ({key.prefix}…) {what}\n")


def _with_accounts(file: Path | None, act: Callable[[Accounts], Awaitable[Result]]) -> Result:
    async def work() -> Result:
        async with _accounts(file) as accounts:
            return await act(accounts)

    return asyncio.run(work())


@asynccontextmanager
async def _accounts(file: Path | None) -> AsyncIterator[Accounts]:
    async with account_database(file) as database:
        yield Accounts(database, SystemClock())
