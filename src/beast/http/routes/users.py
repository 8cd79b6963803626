"""Users, for the operator."""

import msgspec
from litestar import get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath

from beast.accounts.rules import EMAIL_MAX, TEXT_MAX
from beast.accounts.types import User, UserChanges
from beast.http.audit import actor_of, note
from beast.http.routes.accounts import (
    AnyRequest,
    Limit,
    MaybeText,
    Number,
    TheAccounts,
    next_page,
    number_of,
    once_of,
    refusals,
    taking,
)
from beast.http.routes.exchanges import read_body


class UsersPage(msgspec.Struct, frozen=True):
    """A page of users."""

    users: list[User]
    next: int | None
    """The `after` of the next page; null: this is the last."""


class UserToMake(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to be."""

    email: str
    name: str = ""
    preferred_lang: str = "en"


_FIELDS = {
    "email": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.EMAIL, max_length=EMAIL_MAX),
    "name": Schema(type=OpenAPIType.STRING, max_length=TEXT_MAX),
    "preferred_lang": Schema(type=OpenAPIType.STRING),
}


@get("/users", summary="A page of users", responses=refusals())
async def list_users(
    request: AnyRequest,
    accounts: TheAccounts,
    after: Number = 0,
    limit: Limit = 100,
    email: MaybeText = None,
) -> UsersPage:
    """In the order of their ids, or the one with an address."""
    users = await accounts.users.list_page(after=after, limit=limit, email=email)
    note(request, "users.list")
    return UsersPage(users, next_page(len(users), limit, users[-1].id if users else 0))


@post(
    "/users",
    status_code=201,
    summary="Add a user",
    operation_class=taking(_FIELDS, "email", once=True),
    responses={201: ResponseSpec(User, description="The user", generate_examples=False), **refusals(409, 422)},
)
async def create_user(request: AnyRequest, accounts: TheAccounts) -> User:
    """An address is one user's."""
    wanted = await read_body(request, UserToMake)
    user = await accounts.users.create(
        **msgspec.structs.asdict(wanted), by=actor_of(request), once=await once_of(request, accounts)
    )
    note(request, "user.create", user=user.id)
    return user


@get("/users/{user_id:str}", summary="One user", responses=refusals(404))
async def get_user(request: AnyRequest, accounts: TheAccounts, user_id: FromPath[str]) -> User:
    """Their keys are at /admin/keys?user_id=."""
    user = await accounts.users.find(number_of(user_id, "user"))
    note(request, "user.show", user=user.id)
    return user


@patch("/users/{user_id:str}", summary="Change a user", operation_class=taking(_FIELDS), responses=refusals(404, 409))
async def update_user(request: AnyRequest, accounts: TheAccounts, user_id: FromPath[str]) -> User:
    """What the body leaves out stays."""
    wanted = await read_body(request, UserChanges)
    user = await accounts.users.update(number_of(user_id, "user"), wanted, by=actor_of(request))
    note(request, "user.update", user=user.id)
    return user


ROUTES = [list_users, create_user, get_user, update_user]
