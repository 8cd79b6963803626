"""Drafts of rows: who runs them on this node, and where their changes are written down."""

import asyncio
from collections.abc import Mapping

from beast.accounts.audit import Actor, Trail
from beast.feeds.shadow.keeper import WHO, Keeper
from beast.feeds.shadow.observer import Prices
from beast.http.audit import log as audit_log
from beast.http.health import Health
from beast.serving.node import Node


async def start_shadow(node: Node, live: Prices, health: Health) -> None:
    """Runs drafts beside the live exchanges until the node stops."""
    trail = Trail(node.database, node.clock)
    await node.stack.enter_async_context(trail.running())

    def note(action: str, details: Mapping[str, object]) -> None:
        audit_log.info(action, client=WHO, **details)
        trail.put(Actor(WHO), action, details)

    keeper = Keeper(live, node.database, clock=node.clock, report=health.degrade, note=note)
    node.parameters.on_change(keeper.tune)
    running = node.tasks.spawn("shadow", keeper.run())

    async def end() -> None:
        running.cancel()
        await asyncio.wait({running})

    # Before the trail ends, which so writes what was noted last.
    node.stack.push_async_callback(end)
