"""The operator's key."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.utils import normalize_path

ADMIN_HEADER = "x-admin-key"
ADMIN_ROOTS = ("/admin", "/dashboard/api/admin")


def is_admin_path(path: str) -> bool:
    """Whether the router would look for this path where only the operator may."""
    path = normalize_path(path)
    return any(path == root or path.startswith(f"{root}/") for root in ADMIN_ROOTS)


class AdminKey:
    """Compares what a client presents with the operator's key, in constant time.

    Args:
        key: At least 16 characters; an empty one opens nothing.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def opens(self, presented: str | None) -> bool:
        """Whether `presented` is the key."""
        return hmac.compare_digest((presented or "").encode("latin-1", "replace"), self._key) and bool(self._key)

    def guard(self, connection: ASGIConnection[BaseRouteHandler, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Litestar's guard of every admin route.

        Raises:
            NotAuthorizedException: the key is missing or wrong.
        """
        if not self.opens(connection.headers.get(ADMIN_HEADER)):
            raise NotAuthorizedException
