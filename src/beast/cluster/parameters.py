"""Reads the application parameters, and tells the node when they change."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from beast.base.clock import Clock
from beast.base.errors import UsageError
from beast.cluster.store import ParameterStore, Row
from beast.cluster.types import PARAMETERS, Change, Parameters
from beast.storage.database import Database, DatabaseUnavailableError

CHANNEL = "beast_parameters"

_log = structlog.get_logger("beast.cluster")


class ParameterSync:
    """The parameters in force on this node; `run()` keeps them so.

    Args:
        database: An open database.
        clock: Says when a parameter was set.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.current = Parameters()
        self._database = database
        self._store = ParameterStore(database, clock)
        self._callbacks: list[Callable[[Parameters], None]] = []

    def on_change(self, callback: Callable[[Parameters], None]) -> None:
        """Calls `callback` now, and again with every change; it is short and doesn't raise."""
        self._callbacks.append(callback)
        callback(self.current)

    async def load(self) -> Parameters:
        """Reads them again and tells the callbacks if something changed."""
        loaded = effective(await self._store.list_parameters())
        if loaded != self.current:
            told = {change.name: change.new for change in changes(self.current, loaded)}
            _log.info("parameters changed", **told)
            self.current = loaded
            for callback in self._callbacks:
                callback(loaded)
        return loaded

    async def run(self) -> None:
        """Runs until cancelled. While the database is away the last parameters stay in force."""
        async for _ in self._database.listen(CHANNEL):
            try:
                await self.load()
            except DatabaseUnavailableError as error:
                _log.warning("parameters could not be read", error=str(error))

    async def change(self, values: Mapping[str, object]) -> list[Change]:
        """Sets several parameters at once on all nodes; returns what changed.

        Raises:
            UsageError: A name is unknown, a value is not allowed, or they don't fit together. Nothing is set.
        """
        old = await self.load()
        checked = {name: checked_value(name, value) for name, value in values.items()}
        try:
            new = msgspec.structs.replace(old, **checked)
        except ValueError as error:
            raise UsageError(str(error), where="application parameters") from error
        await self._store.set_parameters(checked)
        await self.load()
        return changes(old, new)


def checked_value(name: str, value: object, where: str = "application parameters") -> object:
    """`value` as the parameter's type.

    Raises:
        UsageError: The name is unknown or the value is not allowed.
    """
    parameter = PARAMETERS.get(name)
    if parameter is None:
        raise UsageError(f"unknown parameter {name}", where=where, todo=f"known: {', '.join(PARAMETERS)}")
    try:
        return msgspec.convert(value, parameter.type)
    except msgspec.ValidationError:
        todo = f"allowed: {parameter.allowed}"
        raise UsageError(f"{name} = {value!r} is not allowed", where=where, todo=todo) from None


def effective(rows: Sequence[Row]) -> Parameters:
    """The parameters that these rows make. A row that can't be used is logged and its built-in value stays."""
    values = {}
    for row in rows:
        try:
            values[row.name] = checked_value(row.name, row.value)
        except UsageError as error:
            # A newer node may know more parameters than this one: that must not stop this one.
            _log.warning("parameter ignored", error=str(error))
    try:
        return Parameters(**values)  # type: ignore[arg-type]
    except ValueError as error:
        _log.error("parameters don't fit together; the built-in ones are in force", error=str(error))
        return Parameters()


def changes(old: Parameters, new: Parameters) -> list[Change]:
    """The parameters that differ."""
    names = [name for name in PARAMETERS if getattr(old, name) != getattr(new, name)]
    return [Change(name, getattr(old, name), getattr(new, name)) for name in names]
