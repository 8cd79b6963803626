"""Where nodes keep the limits that they share: theoretical arrival times and the months' counters, in Valkey.

docs/limits.md has the scheme and its proof. Both scripts are whole or not at all, and read one clock, Valkey's.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from beast.accounts.months import month_text
from beast.storage.valkey import Call, Script, Valkey

AT_ONCE: Final = 128
"""Keys of one script: others wait while it runs."""
KEEP_S: Final = 40 * 86_400
"""A month's counter outlives its month, so that what is told late finds it."""

_RATES = Script(
    """
    local time, out = redis.call('TIME'), {}
    local now = time[1] * 1000000 + time[2]
    for i, key in ipairs(KEYS) do
        local arrival = math.max(tonumber(redis.call('GET', key) or now), now) + ARGV[i]
        if arrival > now then
            redis.call('SET', key, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000))
        end
        out[i] = arrival - now
    end
    return out
    """
)

# A month's counter is a hash: `used`, and of each node the mark of what it told last, so that telling the same twice
# adds it once. Where there is no counter, -1 asks for what it begins with, and that holds what is told already.
_QUOTAS = Script(
    """
    local teller, mark, keep, out = 'of ' .. ARGV[1], ARGV[2], ARGV[3], {}
    for i, key in ipairs(KEYS) do
        local told, floor, seed = tonumber(ARGV[1 + 3 * i]), tonumber(ARGV[2 + 3 * i]), tonumber(ARGV[3 + 3 * i])
        local have = redis.call('HMGET', key, 'used', teller)
        local used = tonumber(have[1])
        if not used then
            used = math.max(seed, floor)
            if seed < 0 then used = -1 end
        elseif have[2] ~= mark then
            used = math.max(used, floor) + told
        end
        if used >= 0 and used ~= tonumber(have[1]) then
            redis.call('HSET', key, 'used', string.format('%.0f', used), teller, mark)
            redis.call('EXPIRE', key, keep)
        end
        out[i] = used
    end
    return out
    """
)


class Rate(NamedTuple):
    """Admissions of one owner of a rate."""

    owner: int
    cost_us: int
    """What they move the arrival time on by."""


class Quota(NamedTuple):
    """Answers of one owner of a cap."""

    owner: int
    month: int
    """See beast.accounts.months.month_number."""
    answered: int
    floor: int = -1
    """What the counter holds at least, without these; -1: it has been told."""
    seed: int = -1
    """What the counter begins with if there is none, with these; -1: to be asked for."""


class Ledger(Protocol):
    """What nodes share. Every method may raise ValkeyUnavailableError: then some may have been told all the same."""

    async def open(self) -> None:
        """Connects, or makes sure that it is there."""

    async def close(self) -> None:
        """Ends all connections."""

    async def settle(self, rates: Sequence[Rate], quotas: Sequence[Quota], *, mark: str) -> tuple[list[int], list[int]]:
        """Adds what was admitted and answered.

        Args:
            rates: Admissions, of each owner once. Told twice, they count twice.
            quotas: Answers, of each owner and month once. Told twice with one mark, they count once.
            mark: Names what is told.

        Returns:
            How many µs each arrival time is ahead now; how much each counter holds, or -1 where there is none.
        """


class ValkeyLedger:
    """The ledger of a cluster.

    Args:
        valkey: The pool of connections.
        node: Who tells.
    """

    def __init__(self, valkey: Valkey, node: str) -> None:
        self._valkey = valkey
        self._node = node

    async def open(self) -> None:
        """See Ledger."""
        await self._valkey.open()

    async def close(self) -> None:
        """See Ledger."""
        await self._valkey.close()

    async def settle(self, rates: Sequence[Rate], quotas: Sequence[Quota], *, mark: str) -> tuple[list[int], list[int]]:
        """See Ledger."""
        step = 1 if self._valkey.clustered else AT_ONCE
        calls = []
        for at in range(0, len(rates), step):
            part = rates[at : at + step]
            calls.append(Call(_RATES, [f"rate:{each.owner}" for each in part], [each.cost_us for each in part]))
        of_rates = len(calls)
        for at in range(0, len(quotas), step):
            some = quotas[at : at + step]
            told: list[str | int] = [self._node, mark, KEEP_S]
            for each in some:
                told += (each.answered, each.floor, each.seed)
            calls.append(Call(_QUOTAS, [f"quota:{each.owner}:{month_text(each.month)}" for each in some], told))
        answers = await self._valkey.run(calls) if calls else []
        return [us for part in answers[:of_rates] for us in part], [n for part in answers[of_rates:] for n in part]
