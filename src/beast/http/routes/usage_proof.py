"""Under /admin/usage: how much was answered, whether all of it is booked, and what could not be."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter, SkipValidation

from beast.http.audit import audit
from beast.http.errors import NO_LETTER, Fault, FaultError
from beast.http.services import Services
from beast.usage.admin import LAST_ID, PAGE_MAX, Summary, UsageAdmin
from beast.usage.store import DeadLetter
from beast.usage.types import Fate
from beast.usage.verify import Verification

TheServices = NamedDependency[SkipValidation[Services]]


class DeadLetters(msgspec.Struct):
    """The answer of GET /admin/usage/dead-letters."""

    dead_letters: list[DeadLetter]


class Retried(msgspec.Struct):
    """A dead letter that is one no longer."""

    id: int
    fate: Fate
    """`booked`, or `repeated`: it was booked before, by other ways."""


@get("/usage", summary="Answers by day, and what is not booked yet")
async def get_usage(services: TheServices, days: Annotated[int, QueryParameter(ge=1, le=400)] = 7) -> Summary:
    """What `beast usage show` shows."""
    return await _usage(services).summary(days=days, pending=services.usage_pending())


@get("/usage/verify", summary="Whether every answer is booked, once: lanes, batches, rows, hours, keys")
async def get_usage_verify(
    services: TheServices,
    since: Annotated[datetime | None, QueryParameter(name="from", description="A whole hour of UTC")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to", description="A whole hour of UTC")] = None,
) -> Verification:
    """What `beast usage verify` shows. `ok` says whether anything differs."""
    return await _usage(services).verify(since, until)


@get("/usage/dead-letters", summary="Batches of usage that could not be booked, the newest first")
async def get_dead_letters(
    services: TheServices,
    before: FromQuery[int] = LAST_ID,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = 100,
) -> DeadLetters:
    """What `beast usage dead-letters` shows; the next page is `before` the last id of this one."""
    return DeadLetters(await _usage(services).dead_letters(before=before, limit=limit))


@get("/usage/dead-letters/{number:int}", summary="One of them, as it came", media_type="application/octet-stream")
async def get_dead_letter(services: TheServices, number: FromPath[int]) -> Response[bytes]:
    """The bytes that came from the queue."""
    body = await _usage(services).dead_letter(number)
    if body is None:
        raise FaultError(NO_LETTER)
    return Response(body, media_type="application/octet-stream")


@delete("/usage/dead-letters/{number:int}", summary="Delete one of them", status_code=200)
async def delete_dead_letter(
    request: Request[Any, Any, Any], services: TheServices, number: FromPath[int]
) -> DeadLetter:
    """For good: what was in it will never be booked."""
    letter = await _usage(services).delete_dead_letter(number)
    if letter is None:
        raise FaultError(NO_LETTER)
    audit(request, "usage.dead-letter.delete", id=number, reason=letter.reason)
    return letter


@post("/usage/dead-letters/{number:int}/retry", summary="Book one of them after all", status_code=200)
async def retry_dead_letter(request: Request[Any, Any, Any], services: TheServices, number: FromPath[int]) -> Retried:
    """To be asked once what was wrong is mended. 409, and nothing has changed, while it still can't be booked."""
    outcome = await _usage(services).retry_dead_letter(number)
    if outcome is None:
        raise FaultError(NO_LETTER)
    audit(request, "usage.dead-letter.retry", id=number, fate=outcome.fate, reason=outcome.reason)
    if outcome.fate == Fate.DEAD:
        raise FaultError(Fault(409, "still_dead", outcome.reason))
    return Retried(number, outcome.fate)


def _usage(services: Services) -> UsageAdmin:
    assert services.usage is not None, "every server has it"
    return services.usage


ROUTES = [get_usage, get_usage_verify, get_dead_letters, get_dead_letter, delete_dead_letter, retry_dead_letter]
"""As every room of routes has them."""
