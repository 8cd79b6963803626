"""From the socket to the price table: the real feed manager on one core, fed back to back over a loopback WebSocket.

The other end is a process of its own that shakes hands and then only writes: many frames in each TCP segment, so the
reader never waits. What is told is the processor time of the reading thread for one frame, the kernel's part of the
reading included.
"""

import asyncio
import base64
import hashlib
import multiprocessing
import socket
import time

import uvloop
from msgspec.structs import replace

from beast._fast import Engine
from beast.feeds.manager import FeedManager
from beast.feeds.rows.files import Exchange
from beast.feeds.types import Feed, Mapping
from beast.prices.catalogue import Catalogue

FRAMES, CHUNK, ROUNDS = 300_000, 256, 5
DEADLINE_S = 60
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def write_frames(listener: socket.socket, frame: bytes) -> None:
    """The exchange's end of ROUNDS connections: the handshake, the first message, then FRAMES times one frame."""
    assert 125 < len(frame) < 65_536
    chunk = (b"\x81\x7e" + len(frame).to_bytes(2) + frame) * CHUNK
    for _ in range(ROUNDS):
        peer, _address = listener.accept()
        head = peer.recv(4096)
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key.split()[1] + _GUID).digest())
        peer.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        peer.recv(4096)
        for _ in range(FRAMES // CHUNK):
            peer.sendall(chunk)
        while peer.recv(4096):  # pings, until the reader has gone
            pass
        peer.close()


async def _read(feed: Feed, mapping: Mapping) -> float:
    """µs of processor time a frame, over one connection."""
    engine = Engine(node="Bench", max_instruments=64)
    manager = FeedManager(engine, Catalogue(engine, max_instruments=64))
    await manager.apply([Exchange(feed, (mapping,))])
    loop = asyncio.get_running_loop()
    until, wanted = loop.time() + DEADLINE_S, FRAMES // CHUNK * CHUNK
    while not (first := engine.counters()["ws_trades"]):
        await asyncio.sleep(0.001)
        assert loop.time() < until, manager.status()
    before = time.thread_time()
    while (seen := engine.counters()["ws_trades"]) < wanted:
        await asyncio.sleep(0.005)
        assert loop.time() < until, seen
    took = time.thread_time() - before
    await manager.stop()
    return took / (seen - first) * 1e6


def socket_us(feed: Feed, mapping: Mapping, frame: bytes) -> float:
    """µs of processor time that one frame takes from the socket to the price table, the best of the rounds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        writer = multiprocessing.get_context("fork").Process(target=write_frames, args=(listener, frame), daemon=True)
        writer.start()
        here = replace(feed, ws_url=f"ws://127.0.0.1:{listener.getsockname()[1]}/", connect_interval_ms=0)
        best = min(uvloop.run(_read(here, mapping)) for _ in range(ROUNDS))
        writer.join(DEADLINE_S)
    return best
