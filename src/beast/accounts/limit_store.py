"""What limits need of the database: what was used, and which nodes there are."""

from collections.abc import Sequence
from datetime import date

import msgspec

from beast.storage.database import Database
from beast.storage.queries import Queries

_QUERIES = Queries("beast.accounts")


class OwnerUsage(msgspec.Struct, frozen=True):
    """What a line of keys has used in one month."""

    owner: int
    """The id of its first key."""
    used: int
    ids: list[int]


class _Nodes(msgspec.Struct, frozen=True):
    nodes: int


class LimitStore:
    """Statements as methods. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def used_of_owners(self, owners: Sequence[int], month: date) -> list[OwnerUsage]:
        """Of each owner of a cap, what was answered in `month` and is booked."""
        values = {"owners": list(owners), "month": month}
        return await self._database.fetch(_QUERIES["used_of_owners"], values, row=OwnerUsage)

    async def attend(self, node: str, *, gone_s: float) -> int:
        """Says that this node is here; returns how many said so within `gone_s` seconds."""
        here = await self._database.fetch_one(_QUERIES["attend"], {"node": node, "gone_s": gone_s}, row=_Nodes)
        assert here is not None
        return here.nodes

    async def leave(self, node: str) -> None:
        """Says that it is here no longer."""
        await self._database.execute(_QUERIES["leave"], {"node": node})
