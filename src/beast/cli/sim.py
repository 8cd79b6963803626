"""beast sim: the exchange simulator alone."""

import asyncio
import json
import signal
import sys
from typing import Annotated, Final

import uvloop
from cyclopts import App, Parameter
from cyclopts.validators import Number

from beast.base.errors import BeastError
from beast.feeds.simulator import Simulator, faults

HIGHEST_PORT: Final = 65534

app = App(
    name="sim",
    help_epilogue="""Examples:
  beast sim --port 9700
  beast sim --seed 7 --rate 5 --fault coinbase:silence:30
  beast sim --fault okx:slow:60:ms=500 --fault kraken:disconnect:10
  curl -d '{"exchange":"gemini","kind":"half_open","seconds":20}' http://127.0.0.1:9701/_sim/fault""",
)


@app.default
def sim(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=HIGHEST_PORT))] = 0,
    seed: int = 1,
    rate: float = 1.0,
    fault: Annotated[list[str] | None, Parameter(negative=())] = None,
    chaos: float = 0.0,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Run the exchange simulator alone, until Ctrl-C.

    Every exchange's own WebSocket and REST dialect is served on loopback, with prices that the seed decides.
    GET /_sim/state on the REST port shows what goes on, POST /_sim/fault makes something go wrong.

    Args:
        host: Where to listen.
        port: Port of the WebSocket side, REST takes the next one; 0 means any two.
        seed: The same seed gives the same prices.
        rate: Multiplies how often everything trades.
        fault: EXCHANGE:KIND[:SECONDS[:NAME=VALUE]], may be repeated; EXCHANGE * means all. KIND is silence, half_open,
            disconnect, malformed, schema, slow, spike, refuse or rest.
        chaos: Mean seconds between faults that the seed chooses; 0 means none.
        as_json: Print the addresses as one JSON object.
    """
    simulator = Simulator(host=host, port=port, seed=seed, rate=rate, chaos_s=chaos)
    for wanted in map(faults.parse, fault or ()):
        simulator.fault(wanted.exchange, wanted.kind, wanted.seconds, **wanted.args)
    uvloop.run(_serve(simulator, f"{host}:{port}", as_json=as_json))
    return 0


async def _serve(simulator: Simulator, address: str, *, as_json: bool) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await simulator.start()
        sys.stdout.write(_addresses(simulator, as_json=as_json) + "\n")
        sys.stdout.flush()
        await ended.wait()
    except OSError as error:
        raise BeastError(str(error), where=address, todo="choose another --host or --port") from error
    finally:
        await simulator.stop()


def _addresses(simulator: Simulator, *, as_json: bool) -> str:
    exchanges = {
        name: {
            "websocket": simulator.url(name, f"wss://{name}{exchange.dialect.paths[0]}"),
            "rest": simulator.url(name, f"https://{name}").removesuffix("/"),
        }
        for name, exchange in simulator.exchanges.items()
    }
    if as_json:
        return json.dumps({"ports": dict(simulator.ports), "exchanges": exchanges})
    control = simulator.url("okx", "https://okx").removesuffix("okx/") + "_sim/state"
    lines = [f"{name:10} {each['websocket']}\n{'':10} {each['rest']}" for name, each in exchanges.items()]
    return "\n".join([*lines, f"{'state':10} {control}", "Ctrl-C stops."])
