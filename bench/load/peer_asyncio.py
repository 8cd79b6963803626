"""A peer: a UDP server on asyncio and uvloop that answers from a dict. usage: peer_asyncio.py PORT."""

import asyncio
import json
import sys
from typing import cast

import uvloop

TEXT = (
    b'{"asset":"%s","price":83421.57,"currency":"USD","exchange":"coinbase","source":"coinbase-ws",'
    b'"timestamp":"2026-04-12T14:23:01.123456Z","age_ms":     4,"state":"live","tier":1,"node":"asyncio"'
)


class Prices(asyncio.DatagramProtocol):
    """Answers each datagram on its own."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is none by its class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Parse, look up, answer."""
        request = json.loads(data)
        asset = request["asset"]
        answer = self._answers.get(asset)
        if answer is None:
            answer = self._answers[asset] = TEXT % asset.encode()
        tail = b',"id":%d}' % request["id"] if "id" in request else b"}"
        self._transport.sendto(answer + tail, addr)


async def main(port: int) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(Prices, local_addr=("127.0.0.1", port))
    await asyncio.Event().wait()


uvloop.run(main(int(sys.argv[1])))
