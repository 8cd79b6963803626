"""Who asks: the API key of a request that the main thread answers by itself, checked against its row.

Prices are not asked for here: the workers have keys of their own.
"""

import asyncio
from collections import OrderedDict
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from beast.accounts.errors import TooManyError
from beast.accounts.months import utc
from beast.accounts.store import AccountStore
from beast.accounts.types import ApiKey, Scope
from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.storage.database import Database

KNOWN_MAX: Final = 4096
"""Keys remembered, known and unknown ones."""
KNOWN_NS: Final = 1_000_000_000
"""For how long: a change is seen within a second."""
ASKED_MAX: Final = 4
"""Keys looked up at once: whoever makes keys up must not have all connections to the database."""
WAITING_MAX: Final = 256


class AccessDeniedError(BeastError):
    """The request proves no key, or not one for this."""


class Access:
    """Looks keys up, each once a second at most.

    Args:
        database: An open database.
        clock: Says when what is remembered is old, and which keys have expired.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._store = AccountStore(database)
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[int, ApiKey | None]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[ApiKey | None]] = {}
        self._free = asyncio.Semaphore(ASKED_MAX)

    async def admit(self, key: bytes | None, scopes: frozenset[Scope], address: str) -> ApiKey:
        """The key, if it is good, has one of `scopes`, and may be used from `address`.

        Args:
            key: As sent; None: none was.
            scopes: One of them is needed.
            address: The client's IP address.

        Raises:
            AccessDeniedError: It isn't, with the reason; an unknown key gets no hint.
            TooManyError: It can't be looked up now.
            DatabaseUnavailableError: The same.
        """
        row = await self._find(sha256(key).digest()) if key else None
        if row is None:
            raise AccessDeniedError("the API key is missing or not valid")
        state = row.state_at(utc(self._clock.wall_ns()))
        if state not in {"active", "rotated"}:
            raise AccessDeniedError(f"the API key is {state}")
        if scopes.isdisjoint(row.scopes):
            raise AccessDeniedError(f"the API key lacks the scope {' or '.join(sorted(scopes))}")
        if row.networks and not _inside(address, row.networks):
            raise AccessDeniedError("the API key may not be used from this address")
        return row

    async def _find(self, digest: bytes) -> ApiKey | None:
        now_ns = self._clock.monotonic_ns()
        known = self._known.get(digest)
        if known is not None and now_ns - known[0] < KNOWN_NS:
            return known[1]
        asking = self._asking.get(digest)
        if asking is None:
            if len(self._asking) >= WAITING_MAX:
                raise TooManyError("too many keys are being looked up", todo="try again in a moment")
            # A task of its own: that one request goes away must not fail the others that wait for the same key.
            asking = self._asking[digest] = asyncio.ensure_future(self._ask(digest))
            asking.add_done_callback(lambda _: self._asking.pop(digest, None))
        return await asyncio.shield(asking)

    async def _ask(self, digest: bytes) -> ApiKey | None:
        async with self._free:
            now_ns = self._clock.monotonic_ns()
            row = await self._store.key_by_digest(digest)
            if row is not None and row.enabled:
                await self._store.touch_key(key_id=row.id, now=utc(self._clock.wall_ns()))
        self._known[digest] = (now_ns, row)
        self._known.move_to_end(digest)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return row


def _inside(address: str, networks: list[str]) -> bool:
    try:
        here = ip_address(address)
    except ValueError:
        return False
    if isinstance(here, IPv6Address) and here.ipv4_mapped is not None:
        here = here.ipv4_mapped
    return any(here in ip_network(network) for network in networks)
