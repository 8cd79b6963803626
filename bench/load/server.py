"""A Beast engine for the benches: full work per request, prices kept moving, usage drained. Prints its ports."""

import argparse
import hashlib
import json
import signal
import time
from types import FrameType

from beast._fast import Engine, key_record, monotonic_ns

SECOND = 1_000_000_000


def keys(count: int) -> list[str]:
    """The API keys of the bench; the first one is the only one with `count` 1."""
    return [f"tb_{hashlib.sha256(str(number).encode()).hexdigest()}" for number in range(count)]


def assets(count: int) -> list[str]:
    return ["BTC", *(f"C{number:05d}" for number in range(1, count))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=1)
    parser.add_argument("--assets", type=int, default=150)
    parser.add_argument("--updates", type=int, default=1000, help="price updates a second")
    args = parser.parse_args()
    engine = Engine(node="BeastBench", workers=1, max_keys=max(1024, 2 * args.keys), max_instruments=2 * args.assets)
    names = assets(args.assets)
    engine.load_instruments([(number, name, "coinbase", "USD", 1, 0) for number, name in enumerate(names)])
    engine.link_up(0, 3600 * SECOND, monotonic_ns())
    for number in range(len(names)):
        engine.publish(number, b"83421.57", time.time_ns(), monotonic_ns(), epoch=1)
    engine.put_keys(
        b"".join(
            key_record(hashlib.sha256(key.encode()).digest(), number + 1, 0, 1, partner=True, allowance=None)
            for number, key in enumerate(keys(args.keys))
        )
    )
    engine.start()
    running = True

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    print(json.dumps({"udp": engine.udp_port, "http": engine.http_port}), flush=True)
    number, step, publish = 0, max(1, args.updates // 100), engine.publish
    while running:
        wall_ns, now_ns = time.time_ns(), monotonic_ns()
        for _ in range(step):
            number = (number + 1) % len(names)
            publish(number, b"83421.58", wall_ns, now_ns, epoch=1)
        while engine.drain_usage()[0]:
            pass
        time.sleep(0.01)
    engine.stop()
    print(json.dumps(engine.counters()), flush=True)


if __name__ == "__main__":
    main()
