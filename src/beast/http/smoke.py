"""The price API asked as a client asks it: over a connection of its own, with a key of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import httpx
import msgspec

from beast.accounts.service import Accounts
from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.feeds.admin.audit import Ask

KEY_LIFE: Final = timedelta(hours=1)
"""Should the key not be revoked, it ends by itself."""
KNOWN_S: Final = 5.0
"""By then the workers know a new key."""
POLL_S: Final = 0.05
ANSWER_S: Final = 15.0


class SmokeTest:
    """What the audit's last layer asks.

    Args:
        accounts: Make the key: of tier partner, so that nothing is billed or limited.
        address: Where the price API listens, `http://HOST:PORT`.
        clock: The time.
    """

    def __init__(self, accounts: Accounts, address: Callable[[], str], clock: Clock) -> None:
        self._accounts = accounts
        self._address = address
        self._clock = clock

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Ask]:
        """Lasts as long as the key.

        Raises:
            BeastError: The price API doesn't answer.
        """
        ends = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC) + KEY_LIFE
        key = await self._accounts.create_key("partner", label="exchange audit", expires_at=ends)
        try:
            async with httpx.AsyncClient(
                base_url=self._address(), headers={"X-API-Key": key.api_key}, trust_env=False, timeout=ANSWER_S
            ) as client:
                await _until_known(client)
                yield partial(_ask, client)
        finally:
            await self._accounts.revoke_key(str(key.id))


async def _until_known(client: httpx.AsyncClient) -> None:
    try:
        async with asyncio.timeout(KNOWN_S):
            while await _is_unknown(client):  # noqa: ASYNC110 - workers tell nobody of their keys
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise BeastError(f"the price API does not take a new key within {KNOWN_S:.0f} s") from None
    except httpx.HTTPError as error:
        raise BeastError(f"the price API does not answer: {error or type(error).__name__}") from None


async def _is_unknown(client: httpx.AsyncClient) -> bool:
    return (await client.get("/price", params={"asset": "BTC"})).status_code == httpx.codes.UNAUTHORIZED


async def _ask(client: httpx.AsyncClient, exchange: str, assets: Sequence[str]) -> dict[str, str]:
    """See Ask."""
    try:
        answer = await client.get("/prices", params={"assets": ",".join(assets), "exchange": exchange})
        told = msgspec.json.decode(answer.content)
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        return dict.fromkeys(assets, f"no answer: {error or type(error).__name__}")
    if "prices" not in told:
        return dict.fromkeys(assets, f"{told.get('error')}: {told.get('message')}")
    entries = {entry.get("asset"): entry for entry in told["prices"]}
    return {asset: problem for asset in assets if (problem := _problem(entries.get(asset), exchange))}


def _problem(entry: dict[str, Any] | None, exchange: str) -> str:
    if entry is None:
        return "the answer leaves it out"
    if "error" in entry:
        return f"{entry['error']}: {entry['message']}"
    if entry["exchange"] != exchange or not entry["price"] > 0:
        return f"answered with {entry['price']} of {entry['exchange']}"
    return ""
