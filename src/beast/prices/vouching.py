"""The proofs of connections in tier 2: what a node has received is live for others only as long as it vouches for it.

A price in Valkey names the proof of the connection that brought it. The node renews its proofs four times a second,
takes one back when its connection is lost, and each ends by itself after a second: when the node dies, or can't write.
"""

from collections.abc import Iterator
from secrets import token_hex
from typing import Final

import msgspec

from beast._fast import Engine, link_proof
from beast.base.clock import Clock
from beast.storage.valkey import Stored

RENEW_NS: Final = 250 * 10**6
"""Between two writings of a proof."""
LASTS_MS: Final = 1_000
"""A proof not written anew is none after this."""
KEY: Final = r"^link:[0-9a-f]{16}:[0-9]{1,4}\Z"


class Proof(msgspec.Struct, frozen=True):
    """That a connection is proven alive, as Valkey keeps it, in JSON."""

    connection: int
    """Which one of its link; 0: it is lost."""
    at_ns: int
    """When this was so, ns since 1970 by the clock of the node that wrote it."""
    lasts_ms: int
    """For how long it is so if nothing more comes over it; LASTS_MS at most."""


class Vouching:
    """The proofs that a node writes.

    Args:
        engine: Knows how its links fare.
        clock: The time.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._process = token_hex(8)  # one that begins anew counts its connections anew, too
        self._told: dict[int, tuple[int, int]] = {}
        """By link: the connection and when it was told of, CLOCK_MONOTONIC; 0: never."""

    def key(self, link: int) -> str:
        """Where the proof of a link's connection stands."""
        return f"link:{self._process}:{link}"

    def vouch(self, link: int, epoch: int) -> int:
        """Has the connection that brought a trade in this epoch proven from now on; returns which it is; 0: it is lost.

        Args:
            link: Its number in the price table.
            epoch: Of the link, when the trade came.
        """
        proof = link_proof(self._engine, link, self._clock.monotonic_ns())
        if proof is None or epoch < proof[0]:
            return 0
        if self._told.get(link, (0, 0))[0] != proof[0]:
            self._told[link] = proof[0], 0
        return proof[0]

    def entries(self) -> Iterator[tuple[str, bytes, int]]:
        """(key, value, milliseconds to keep it) of every proof that is due, or has come to an end."""
        now_ns = self._clock.monotonic_ns()
        for link, (connection, told_ns) in list(self._told.items()):
            proof = link_proof(self._engine, link, now_ns)
            if proof is None or proof[0] != connection:
                del self._told[link]
                yield self._entry(link, 0, LASTS_MS)
            elif now_ns - told_ns >= RENEW_NS:
                self._told[link] = connection, now_ns
                yield self._entry(link, connection, min(LASTS_MS, proof[1] // 10**6))

    def _entry(self, link: int, connection: int, lasts_ms: int) -> tuple[str, bytes, int]:
        proof = Proof(connection, self._clock.wall_ns(), lasts_ms)
        return self.key(link), msgspec.json.encode(proof), max(lasts_ms, 1)


def proven_for_ns(connection: int, stored: Stored | None, wall_ns: int) -> int:
    """For how long, from the moment of asking, this value proves the connection; not above 0: it doesn't.

    It is told twice, by Valkey's clock and by those of two nodes, and the shorter time is believed.
    """
    if stored is None:
        return 0
    try:
        proof = msgspec.json.decode(stored.value, type=Proof)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0
    if proof.connection != connection or connection == 0:
        return 0
    lasts_ms = min(proof.lasts_ms, LASTS_MS)
    return min(min(stored.left_ms, lasts_ms) * 10**6, proof.at_ns + lasts_ms * 10**6 - wall_ns, lasts_ms * 10**6)
