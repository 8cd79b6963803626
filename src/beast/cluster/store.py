"""The only place in cluster that talks to the database."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from beast.base.clock import Clock
from beast.storage.database import Database
from beast.storage.queries import Queries
from beast.storage.statements import Named

_QUERIES = Queries("beast.cluster")
PARAMETERS_LOAD = Named.of("beast_parameters_load", _QUERIES["list_parameters"])


class Row(msgspec.Struct, frozen=True):
    """A parameter's name and value, as they stand in the table."""

    name: str
    value: object


class _Name(msgspec.Struct, frozen=True):
    name: str


class ParameterStore:
    """Statements of `queries.sql` as methods. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def list_parameters(self) -> list[Row]:
        """The parameters that are not left to their built-in values."""
        return await self._database.fetch_named(PARAMETERS_LOAD, {}, row=Row)

    async def set_parameters(self, values: Mapping[str, object]) -> None:
        """Sets several parameters at once, or none."""
        now = datetime.fromtimestamp(self._clock.wall_ns() // 1_000_000_000, UTC)
        encoded = msgspec.json.encode(values).decode()
        await self._database.execute(_QUERIES["set_parameters"], {"values": encoded, "now": now})

    async def set_lists(self, prefix: str, lists: Mapping[str, str]) -> None:
        """Makes these the parameters whose names begin with `prefix`: sets them, and deletes the others."""
        now = datetime.fromtimestamp(self._clock.wall_ns() // 1_000_000_000, UTC)
        encoded = msgspec.json.encode(lists).decode()
        async with self._database.transaction() as connection:
            await connection.execute(_QUERIES["delete_lists"], {"prefix": prefix, "kept": list(lists)})
            await connection.execute(_QUERIES["set_parameters"], {"values": encoded, "now": now})

    async def seed_profile(self, profile: str, values: Mapping[str, object]) -> None:
        """Adds the rows of a profile that are missing."""
        encoded = msgspec.json.encode(values).decode()
        await self._database.execute(_QUERIES["seed_profile"], {"profile": profile, "values": encoded})

    async def list_profiles(self) -> list[str]:
        """The names of all profiles."""
        return [row.name for row in await self._database.fetch(_QUERIES["list_profiles"], row=_Name)]

    async def profile_rows(self, profile: str) -> list[Row]:
        """What a profile sets; nothing when there is none of this name."""
        return await self._database.fetch(_QUERIES["profile_rows"], {"profile": profile}, row=Row)
