"""Named prepared statements: the server parses and plans them once for each connection.

They are a gain, never a need. Where one can't be prepared (a pooler between us and the server, a table that an older
schema lacks) the same text is sent as it is, with its values apart as always.
"""

import re
from typing import Any, Self

import msgspec
import psycopg
import structlog

_VALUE = re.compile(rb"%\(([a-z_]+)\)s")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

_log = structlog.get_logger("beast.storage")


class Named(msgspec.Struct, frozen=True):
    """A statement of a `queries.sql` under the name that the server knows it by."""

    name: str
    text: bytes
    """As psycopg takes it, with `%(value)s`."""
    prepare: bytes
    execute: bytes

    @classmethod
    def of(cls, name: str, text: bytes) -> Self:
        """Raises ValueError when the name is none."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a statement")
        values = list(dict.fromkeys(_VALUE.findall(text)))
        numbered = _VALUE.sub(lambda found: b"$%d" % (values.index(found[1]) + 1), text).replace(b"%%", b"%")
        given = b", ".join(b"%%(%s)s" % value for value in values)
        called = name.encode()
        execute = b"EXECUTE " + called + (b" (" + given + b")" if values else b"")
        return cls(name, text, b"PREPARE " + called + b" AS " + numbered, execute)


class Statements:
    """Those of one pool, and which of them the server has taken.

    Args:
        named: What is prepared on each new connection.
    """

    def __init__(self, *named: Named) -> None:
        self._named = {each.name: each for each in named}
        self._prepared: dict[str, bool] = {}
        self._told = False

    @property
    def prepared(self) -> dict[str, bool]:
        """By name, as the latest connection found it."""
        return dict(self._prepared)

    async def configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Prepares them on a new connection in autocommit mode; a failure is remembered, not raised."""
        faults = {}
        for each in self._named.values():
            try:
                await connection.execute(each.prepare)
            except psycopg.DatabaseError as error:
                if connection.closed:
                    raise
                faults[each.name] = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._prepared[each.name] = each.name not in faults
        if self._named and (not self._told or faults):
            self._told = True
            count = len(self._named) - len(faults)
            _log.info("statements prepared", count=count, of=len(self._named), **({"not": faults} if faults else {}))

    def is_prepared(self, statement: Named) -> bool:
        """Whether it can be sent by its name."""
        return self._prepared.get(statement.name, False)

    def lost(self, statement: Named) -> None:
        """A connection did not know it: from now on its text is sent."""
        self._prepared[statement.name] = False
        _log.warning("statement no longer prepared", statement=statement.name)
