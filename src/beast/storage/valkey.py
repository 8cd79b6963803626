"""The pool of connections to Valkey or Redis, a single server or a cluster. The only importer of redis."""

import asyncio
import ssl
from collections.abc import Awaitable, Iterable, Sequence
from hashlib import sha1
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from beast.base.errors import BeastError
from beast.base.log import mask_text

CONNECT_S: Final = 1.0
"""How long connecting, and an answer that nobody waits for any more, may take."""


class ValkeyUnavailableError(BeastError):
    """Valkey can't be reached now, or did not answer in time. A later attempt may succeed."""


class Stored(NamedTuple):
    """A value and how long it is still kept."""

    value: bytes
    left_ms: int
    """-1: for ever."""


class Script:
    """A Lua script; Valkey keeps it under the SHA-1 of its text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


class Call(NamedTuple):
    """One run of a script. In a cluster all its keys must be of one slot."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | int]


class Valkey:
    """One pool of connections, used in pipelines. Every method may raise ValkeyUnavailableError.

    Args:
        url: redis://, rediss://, valkey://, valkeys:// or unix://; of a cluster, any of its nodes.
        pool_size: Connections at most; of a cluster, to each of its nodes.
    """

    def __init__(self, url: str, *, pool_size: int = 12) -> None:
        # redis-py knows the schemes by their older names.
        self._url = "redis" + url.removeprefix("valkey") if url.startswith("valkey") else url
        self._pool_size = pool_size
        self._client: Any = None  # Redis or RedisCluster: redis-py has no type for both
        self._clustered = False

    async def open(self) -> None:
        """Connects, or makes sure that the connection works. May be called again and again."""
        if self._client is None:
            plain = Redis.from_url(self._url, **self._arguments())
            try:
                cluster = await _told(plain.info("cluster"), CONNECT_S)
            finally:
                await plain.aclose()
            self._clustered = bool(cluster.get("cluster_enabled"))
            kind: Any = RedisCluster if self._clustered else Redis
            self._client = kind.from_url(self._url, **self._arguments())
        await _told(self._client.ping(), CONNECT_S)

    async def close(self) -> None:
        """Closes all connections; open() makes new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def resize(self, pool_size: int) -> None:
        """Changes the size of the pool, also of one in use."""
        self._pool_size = pool_size
        if self._clustered and self._client is not None:
            for node in self._client.get_nodes():
                node.max_connections = pool_size
        elif self._client is not None:
            self._client.connection_pool.max_connections = pool_size

    async def read(self, keys: Sequence[str]) -> list[Stored | None]:
        """The values of some keys, in one pipeline; None where there is none."""
        pipeline = self._pipeline()
        for key in keys:
            pipeline.get(key).pttl(key)
        answers = await _told(pipeline.execute(), CONNECT_S)
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [None if value is None else Stored(value, left_ms) for value, left_ms in pairs]

    async def write(self, values: Iterable[tuple[str, bytes, int]]) -> None:
        """Sets (key, value, milliseconds to keep it), in one pipeline."""
        pipeline = self._pipeline()
        for key, value, keep_ms in values:
            pipeline.set(key, value, px=keep_ms)
        await _told(pipeline.execute(), CONNECT_S)

    @property
    def clustered(self) -> bool:
        """Whether it is a cluster; known once open() has returned."""
        return self._clustered

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """What the scripts answer, in one pipeline (in a cluster, at once). Some may have run when it raises."""
        answers = await self._evaluate(calls)
        missing = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if missing:
            for script in {calls[number].script for number in missing}:
                await _told(self._client.script_load(script.text), CONNECT_S)
            again = await self._evaluate([calls[number] for number in missing])
            for number, answer in zip(missing, again, strict=True):
                answers[number] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise ValkeyUnavailableError(mask_text(str(answer)), where="valkey") from answer
        return answers

    async def _evaluate(self, calls: Sequence[Call]) -> list[Any]:
        """An answer or an exception for each."""
        if self._clustered:
            # A node's client has no line to wait in for a connection: of one too many it says that there are none left.
            turns = asyncio.Semaphore(max(1, self._pool_size // 2))

            async def evaluate(call: Call) -> Any:
                async with turns:
                    return await self._client.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)

            together: list[Any] = await _told(asyncio.gather(*map(evaluate, calls), return_exceptions=True), CONNECT_S)
            return together
        pipeline = self._pipeline()
        for call in calls:
            pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        answers: list[Any] = await _told(pipeline.execute(raise_on_error=False), CONNECT_S)
        return answers

    def _pipeline(self) -> Any:
        if self._client is None:
            raise ValkeyUnavailableError("is not connected", where="valkey")
        return self._client.pipeline() if self._clustered else self._client.pipeline(transaction=False)

    def _arguments(self) -> dict[str, Any]:
        """No retries of its own: who asks for a price doesn't wait for them."""
        return {
            "max_connections": self._pool_size,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "beast",
            "socket_timeout": CONNECT_S,
            "socket_connect_timeout": CONNECT_S,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }


async def _told(answer: Awaitable[Any], timeout_s: float) -> Any:
    """What Valkey answers. Raises ValkeyUnavailableError.

    A connection that fails in the moment of a cancellation, or just answers, swallows it: then it is raised here.
    """
    before = _cancellations()
    try:
        async with asyncio.timeout(timeout_s):
            told = await answer
    except (TimeoutError, RedisError, OSError, ssl.SSLError) as error:
        if _cancellations() > before:
            raise asyncio.CancelledError from error
        if isinstance(error, TimeoutError):
            raise ValkeyUnavailableError("no answer in time", where="valkey") from error
        raise ValkeyUnavailableError(mask_text(str(error)), where="valkey", todo="check REDIS_URL") from error
    if _cancellations() > before:
        raise asyncio.CancelledError
    return told


def _cancellations() -> int:
    """How often the running task was asked to end."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
