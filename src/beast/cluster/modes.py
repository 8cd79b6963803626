"""The named profiles: complete sets of parameters, applied at once."""

import importlib.resources
import tomllib

import msgspec

from beast.base.clock import Clock
from beast.base.errors import BeastError, UsageError
from beast.cluster.parameters import ParameterSync, changes, checked_value
from beast.cluster.store import ParameterStore
from beast.cluster.types import PARAMETERS, Change, Parameters
from beast.storage.database import Database


def shipped_profiles() -> dict[str, Parameters]:
    """The profiles that come with Beast, from `profiles/*.toml`, by name.

    Raises:
        BeastError: A file is not complete, or holds what no parameter allows.
    """
    profiles = {}
    for file in importlib.resources.files("beast.cluster").joinpath("profiles").iterdir():
        if file.name.endswith(".toml"):
            profiles[file.name.removesuffix(".toml")] = read_profile(file.name, file.read_text("utf-8"))
    return dict(sorted(profiles.items()))


def read_profile(where: str, text: str) -> Parameters:
    """One profile file, which must set every parameter.

    Raises:
        BeastError: It doesn't, or sets something else.
    """
    try:
        values = {name: checked_value(name, value, where) for name, value in tomllib.loads(text).items()}
        if missing := PARAMETERS.keys() - values.keys():
            raise BeastError(f"misses {', '.join(sorted(missing))}", where=where)
        return Parameters(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise BeastError(str(error), where=where) from error


def _tuning(profile: Parameters) -> dict[str, object]:
    """What a profile sets: all but the lists that it leaves empty."""
    return {name: value for name, value in msgspec.structs.asdict(profile).items() if value != ""}


class Profiles:
    """The profiles in the database, seeded from the shipped ones.

    Args:
        database: An open database.
        clock: Says when a profile was applied.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._store = ParameterStore(database, clock)
        self._parameters = ParameterSync(database, clock)

    async def seed(self) -> None:
        """Adds the shipped profiles that the table lacks; what the operator changed stays."""
        for name, parameters in shipped_profiles().items():
            await self._store.seed_profile(name, msgspec.structs.asdict(parameters))

    async def names(self) -> list[str]:
        """All profiles."""
        return await self._store.list_profiles()

    async def diff(self, name: str) -> list[Change]:
        """What applying a profile would change. A list that it leaves empty stays as it is: it is of the place.

        Raises:
            UsageError: There is no such profile, or one of its rows is not allowed.
        """
        current = await self._parameters.load()
        return changes(current, msgspec.structs.replace(current, **_tuning(await self._read(name))))

    async def apply(self, name: str) -> list[Change]:
        """Puts a profile into force on all nodes; returns what changed.

        Raises:
            UsageError: There is no such profile, or one of its rows is not allowed. Nothing is changed.
        """
        return await self._parameters.change(_tuning(await self._read(name)))

    async def _read(self, name: str) -> Parameters:
        rows = await self._store.profile_rows(name)
        if not rows:
            known = ", ".join(await self.names())
            raise UsageError(f"there is no profile {name!r}", todo=f"one of {known}")
        where = f"profile {name}"
        try:
            return Parameters(**{row.name: checked_value(row.name, row.value, where) for row in rows})  # type: ignore[arg-type]
        except ValueError as error:
            raise UsageError(str(error), where=where) from error
