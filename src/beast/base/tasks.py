"""Background tasks that have a name and can't fail unseen."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

import structlog

Result = TypeVar("Result")
AGAIN_S: Final = 5.0


async def to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Awaits `work`, which is not cancelled with its caller: the caller's cancellation is raised when the work is done.

    For what commits and then says so elsewhere: cancelled between the two, it would be lost there, or done twice.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()


class Tasks:
    """The long-running tasks of one component.

    The first task that fails is logged and remembered: `failed()` raises its exception, so whoever waits there
    can stop the process in order. The other tasks go on.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._log = structlog.get_logger("beast.tasks")

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts `work` on the running loop; its failure is reported under `name`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def failed(self) -> None:
        """Waits until a task fails (if one hasn't already) and raises its exception."""
        await asyncio.shield(self._failure_future())

    async def unless_failed(self, waited: Awaitable[object]) -> None:
        """Waits, but no longer than every task is well: raises the exception of the first that fails."""
        failed = asyncio.ensure_future(self.failed())
        wanted = asyncio.ensure_future(waited)
        try:
            await asyncio.wait({failed, wanted}, return_when=asyncio.FIRST_COMPLETED)
            for task in (wanted, failed):
                if task.done():
                    await task
                    break
        finally:
            failed.cancel()
            wanted.cancel()

    async def cancel(self) -> None:
        """Cancels what still runs and waits until all of it has left. Tasks spawned meanwhile are cancelled too."""
        while self._tasks:
            running = list(self._tasks)
            for task in running:
                task.cancel()
            # A library that fails in the very moment swallows the cancellation: who goes on is told again.
            left, _ = await asyncio.wait(running, timeout=AGAIN_S)
            self._tasks.difference_update(left)

    def _failure_future(self) -> asyncio.Future[None]:
        if self._failure is None:
            self._failure = asyncio.get_running_loop().create_future()
            # Whoever never waits for failures has still seen the log line.
            self._failure.add_done_callback(lambda future: future.cancelled() or future.exception())
        return self._failure

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        self._log.error("task failed", task=task.get_name(), error=repr(error), exc_info=error)
        failure = self._failure_future()
        if not failure.done():
            failure.set_exception(error)
