"""What the counter of a month begins with when the cluster has none: what the database and this node know."""

from collections import defaultdict
from collections.abc import Sequence

from beast.accounts.ledger import Quota
from beast.accounts.limit_store import LimitStore
from beast.accounts.months import month_date
from beast.accounts.sync import Usage


class Seeds:
    """Finds them.

    Args:
        store: What is booked.
        usage: What this node has answered besides.
    """

    def __init__(self, store: LimitStore, usage: Usage) -> None:
        self._store = store
        self._usage = usage

    async def find(self, quotas: Sequence[Quota]) -> list[int]:
        """For each what was answered in its month, as far as the rows and this node know.

        Raises:
            DatabaseUnavailableError: Nobody knows.
        """
        owners: defaultdict[int, list[int]] = defaultdict(list)
        for each in quotas:
            owners[each.month].append(each.owner)
        known: dict[tuple[int, int], int] = {}
        async with self._usage.booking:
            for month, ids in owners.items():
                booked = await self._store.used_of_owners(ids, month_date(month))
                unbooked = self._usage.unbooked()
                for line in booked:
                    known[line.owner, month] = line.used + sum(unbooked.get(e, 0) for e in {line.owner, *line.ids})
        return [known[each.owner, each.month] for each in quotas]
