"""What the accounts refuse, by kind: the HTTP side gives each its own status."""

from beast.base.errors import BeastError, UsageError


class UnknownAccountError(UsageError):
    """There is no such key, user or tier."""


class ConflictError(BeastError):
    """What is asked for doesn't fit the state that the row is in."""


class ReusedRequestError(UsageError):
    """An Idempotency-Key came with another request than the first time."""


class TooManyError(BeastError):
    """So many ask the same of the database that one more has to come back later."""
