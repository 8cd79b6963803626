"""beast users: the customers."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from beast.accounts.audit import command_line
from beast.accounts.types import User, UserChanges
from beast.accounts.users import Users
from beast.base.clock import SystemClock
from beast.cli.account_tables import PAGE, AsJson, account_database, print_row, print_table

app = App(
    name="users",
    help="Add, list and change users.",
    help_epilogue="""Examples:
  beast users create ada@example.org --name "Ada Lovelace" --lang en
  beast users list
  beast users show ada@example.org
  beast users set ada@example.org --lang pt-BR
  beast keys create --tier pro --user ada@example.org""",
)

WhichUser = Annotated[str, Parameter(name="USER", allow_leading_hyphen=False)]
Language = Annotated[str | None, Parameter(name="--lang")]


@app.command
def create(
    email: Annotated[str, Parameter(name="EMAIL", allow_leading_hyphen=False)],
    /,
    *,
    name: str = "",
    lang: str = "en",
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """Add a user.

    Args:
        email: Their address.
        name: What they are called.
        lang: The language of their mail, such as en or pt-BR.
        as_json: Print the user as one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> User:
        async with _users(config) as users:
            return await users.create(email, name=name, preferred_lang=lang, by=command_line())

    _tell(asyncio.run(work()), "is added", as_json=as_json)


@app.command(name="list")
def list_users(*, as_json: AsJson = False, config: Path | None = None) -> None:
    """List the users.

    Args:
        as_json: Print one JSON object a line.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> None:
        rows = []
        async with _users(config) as users:
            after = 0
            while page := await users.list_page(after=after, limit=PAGE):
                after = page[-1].id
                for user in page:
                    if as_json:
                        print_row(user)
                    else:
                        row = (str(user.id), user.email, user.name, user.preferred_lang, user.keys, user.created_at)
                        rows.append(row)
        if not as_json:
            print_table(("id", "address", "name", "language", "keys", "since"), rows)

    asyncio.run(work())


@app.command
def show(which: WhichUser, /, *, as_json: AsJson = False, config: Path | None = None) -> None:
    """Show one user.

    Args:
        which: Their id or address.
        as_json: Print one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> User:
        async with _users(config) as users:
            return await users.find(which)

    user = asyncio.run(work())
    if as_json:
        print_row(user)
        return
    for name, value in msgspec.structs.asdict(user).items():
        sys.stdout.write(f"{name.replace('_', ' '):<14} {'-' if value == '' else value}\n")


@app.command(name="set")
def set_user(
    which: WhichUser,
    /,
    *,
    email: str | None = None,
    name: str | None = None,
    lang: Language = None,
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """Change a user; what is left out stays.

    Args:
        which: Their id or address.
        email: Their new address.
        name: What they are called.
        lang: The language of their mail, such as en or pt-BR.
        as_json: Print the user as one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """
    wanted = UserChanges(
        email=msgspec.UNSET if email is None else email,
        name=msgspec.UNSET if name is None else name,
        preferred_lang=msgspec.UNSET if lang is None else lang,
    )

    async def work() -> User:
        async with _users(config) as users:
            return await users.update(which, wanted, by=command_line())

    _tell(asyncio.run(work()), "is changed", as_json=as_json)


def _tell(user: User, what: str, *, as_json: bool) -> None:
    if as_json:
        print_row(user)
    else:
        sys.stdout.write(f"user {user.id} ({user.email}) {what}\n")


@asynccontextmanager
async def _users(file: Path | None) -> AsyncIterator[Users]:
    async with account_database(file) as database:
        yield Users(database, SystemClock())
