"""The keys of the price side, and who keeps their limits."""

from functools import partial

from beast._fast import Engine
from beast.accounts.lease_size import LeaseSize
from beast.accounts.leases import Leases
from beast.accounts.ledger import ValkeyLedger
from beast.accounts.limit_store import LimitStore
from beast.accounts.seeds import Seeds
from beast.accounts.sync import KeySync, Usage
from beast.cluster.types import Parameters
from beast.http.health import Health
from beast.serving.node import Node
from beast.storage.valkey import Valkey

LEDGER_CONNECTIONS = 4
"""To Valkey, besides those of tier 2."""


async def start_keys(node: Node, health: Health, engine: Engine, usage: Usage) -> KeySync:
    """Returns once it is known how limits are kept, and every key is in memory."""
    store = LimitStore(node.database)
    keys = KeySync(engine, usage, node.database, node.clock)
    ledger = None
    if node.config.redis_url:
        ledger = ValkeyLedger(Valkey(node.config.redis_url, pool_size=LEDGER_CONNECTIONS), node.config.node)
    leases = Leases(
        engine,
        ledger,
        store,
        Seeds(store, usage),
        node.clock,
        node=node.config.node,
        report=partial(health.degrade, "limits"),
        note=partial(health.note, "limits"),
        changed=keys.keep_shared,
    )

    def tune(parameters: Parameters) -> None:
        keys.lease_size = LeaseSize(percent=parameters.limits_lease_percent, settle_ms=parameters.limits_settle_ms)
        leases.tune(without=parameters.limits_without_valkey, settle_ms=parameters.limits_settle_ms)

    node.parameters.on_change(tune)
    await leases.start(node.tasks)
    node.stack.push_async_callback(leases.stop)
    node.tasks.spawn("keys", keys.run())
    await node.tasks.unless_failed(keys.loaded())
    return keys
