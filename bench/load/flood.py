"""What a flood from spoofed sources costs those that are served: each datagram of another address, with another key.

    python -m bench.load.flood                    9 rounds with 20,000 such datagrams a second, 9 without
    python -m bench.load.flood --rate 50000 --rounds 5

Told is the server's processor time for a served answer, with the flood beside without it; 1.10 is the aim. Sources are
drawn from 127.0.0.0/8, which belongs to this machine, by IP_PKTINFO. The flood shares processor 1 with the load client,
so without it as many datagrams go to a socket that nobody reads.
A run is kept as one line in bench/results/flood.jsonl.
"""

import argparse
import contextlib
import json
import random
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

from bench.load import peers
from bench.load.report import keep, machine, show
from bench.load.scenarios import BEASTS, DISTINCT

IP_PKTINFO = 8
"""Linux's own number; the module of sockets knows no name for it."""
TURN_S = 0.001


def flood(port: int, rate: int) -> None:
    """Sends `rate` datagrams a second until it is killed."""
    draw = random.Random(1)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        begun, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - begun) * rate)
            for number in range(sent, due):
                source = bytes([127, draw.randrange(1, 255), draw.randrange(256), draw.randrange(1, 255)])
                request = b'{"api_key":"tb_%032x","asset":"BTC","id":%d}' % (draw.getrandbits(128), number)
                told = struct.pack("i4s4s", 0, source, bytes(4))
                sock.sendmsg([request], [(socket.IPPROTO_IP, IP_PKTINFO, told)], 0, ("127.0.0.1", port))
            sent = due
            time.sleep(TURN_S)


@contextlib.contextmanager
def flooded(port: int, rate: int) -> Iterator[None]:
    """A flood as long as this lasts."""
    again = [sys.executable, "-m", "bench.load.flood", "--rate", str(rate), "--flood", str(port)]
    with subprocess.Popen(["taskset", "-c", peers.CLIENT_CPU, *again]) as process:
        time.sleep(0.5)
        try:
            yield
        finally:
            process.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--flood", type=int, metavar="PORT", help="be the flood, of a server on this port")
    args = parser.parse_args()
    if args.flood:
        flood(args.flood, args.rate)
    about, names = machine(), BEASTS["beast"].names()
    ratios, served, came = [], [], []
    with peers.beast(BEASTS["beast"]) as beast, socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        for _ in range(args.rounds):
            with flooded(deaf.getsockname()[1], args.rate):
                calm = peers.load(beast, DISTINCT, names, seconds=args.seconds)
            with flooded(beast.udp, args.rate):
                before, begun = beast.figures()["counters"], time.monotonic()
                rough = peers.load(beast, DISTINCT, names, seconds=args.seconds)
                after, seconds = beast.figures()["counters"], time.monotonic() - begun
            unserved = sum(after[name] - before[name] for name in ("udp_refused", "udp_ignored"))
            ratios.append(rough["cpu_ns"] / calm["cpu_ns"])
            served.append(rough["answered"] / args.seconds)
            came.append(unserved / seconds)
            show({"calm_ns": calm["cpu_ns"], "flooded_ns": rough["cpu_ns"], "lost": rough["lost"], "flood": came[-1]})
    result = {
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "served_per_second": round(statistics.median(served)),
        "flood_per_second": round(statistics.median(came)),
    }
    print(json.dumps(result))
    keep("flood", {"rate": args.rate, "rounds": args.rounds, "seconds": args.seconds}, [result], about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
