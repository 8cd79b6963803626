"""What the routes of keys, users, tiers and usage have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import QueryParameter, SkipValidation

from beast.accounts.errors import UnknownAccountError
from beast.accounts.once import KEY_MAX, Once
from beast.accounts.rules import ID_MAX, TEXT_MAX, as_id
from beast.http.account_admin import AccountAdmin
from beast.http.errors import JSON
from beast.http.schema import PriceError

AnyRequest = Request[Any, Any, Any]
TheAccounts = NamedDependency[SkipValidation[AccountAdmin]]

PAGE_MAX = 1000
IDEMPOTENCY_HEADER = "idempotency-key"

Number = Annotated[int, QueryParameter(ge=0, le=ID_MAX)]
MaybeNumber = Annotated[int | None, QueryParameter(ge=0, le=ID_MAX)]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)]
_NO_NUL = "^[^\\x00]*$"
Text = Annotated[str, QueryParameter(max_length=TEXT_MAX, pattern=_NO_NUL)]
MaybeText = Annotated[str | None, QueryParameter(max_length=TEXT_MAX, pattern=_NO_NUL)]

IDEMPOTENCY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=KEY_MAX),
    description="Sent again within 24 hours with the same body, the request gets the first one's answer",
)

_REASONS = {
    404: "not_found",
    409: "conflict: what is asked for doesn't fit what the row is",
    422: "idempotency_key_reused: it came with another body before",
}


def refusals(*others: int) -> dict[int, ResponseSpec]:
    """The errors of a route of accounts, for its description."""
    return {
        400: ResponseSpec(PriceError, description="bad_request", generate_examples=False),
        401: ResponseSpec(PriceError, description="unauthorized", generate_examples=False),
        503: ResponseSpec(PriceError, description="unavailable: the database is away", generate_examples=False),
        **{n: ResponseSpec(PriceError, description=_REASONS[n], generate_examples=False) for n in others},
    }


def taking(fields: Mapping[str, Schema], *required: str, once: bool = False) -> type[Operation]:
    """The description of a route whose body, a JSON object, is read by our own rules.

    Args:
        fields: What the body may have.
        required: What it must have.
        once: The route takes the name by which a request may be sent again.
    """
    schema = Schema(type=OpenAPIType.OBJECT, properties=dict(fields), required=list(required))

    @dataclass
    class Taking(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content={JSON: OpenAPIMediaType(schema=schema)}, required=bool(required))
            if once:
                self.parameters = [*(self.parameters or []), IDEMPOTENCY]

    return Taking


def number_of(text: str, what: str) -> str:
    """The number in a path.

    Raises:
        UnknownAccountError: It is none, so nothing has it.
    """
    if as_id(text) is None:
        raise UnknownAccountError(f"there is no {what} {text[:TEXT_MAX]}")
    return text


async def once_of(request: AnyRequest, accounts: AccountAdmin) -> Once | None:
    """The name of this creation, if it has one.

    Raises:
        UsageError: The header can't be one.
    """
    return accounts.once(request.headers.get(IDEMPOTENCY_HEADER), request.url.path, await request.body())


def next_page(rows: int, limit: int, last_id: int) -> int | None:
    """The `after` of the next page; None: there is none."""
    return last_id if rows == limit else None
