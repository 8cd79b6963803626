"""Answers of the main thread, when its process is killed: what is in its ring is what the clients have received."""

import signal
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.fixtures import slow_child

from beast._fast import USAGE_RECORD, Load, recover_usage_ring
from beast.engine.load import figures_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

RECORD = struct.Struct(USAGE_RECORD)
PROTOCOL_AT = 9
"""Of a record's members: 0 by UDP, 1 by HTTP from a lane, 2 by HTTP from the main thread."""
CONNECTIONS = 6


class Clients:
    """One by UDP, some by HTTP, each with requests enough under way to keep the main thread busy."""

    def __init__(self, udp: int, http: int) -> None:
        self._loads = [("udp", load_of("udp", udp)), *(("http", load_of("http", http)) for _ in range(CONNECTIONS))]
        self._threads = [threading.Thread(target=self._run, args=(load,)) for _, load in self._loads]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _run(load: Load) -> None:
        with suppress(OSError):  # nobody listens any more
            load.run()

    def wait_for(self, answers: int) -> None:
        """Returns when each protocol has so many."""
        for _, load in self._loads[:2]:
            while figures_of(load).answered < answers:
                threading.Event().wait(0.01)

    def received(self) -> Counter[str]:
        """By protocol; they have read all that there was."""
        for _, load in self._loads:
            load.stop()
        for thread in self._threads:
            thread.join()
        received: Counter[str] = Counter()
        for protocol, load in self._loads:
            figures = figures_of(load)
            assert not figures.wrong, figures.sample
            received[protocol] += figures.answered
        return received


def load_of(protocol: str, port: int) -> Load:
    """A connection or a socket with eight requests under way."""
    return Load(
        protocol=protocol,
        host="127.0.0.1",
        port=port,
        keys=[slow_child.KEY],
        assets=[b"BTC"],
        sockets=1,
        in_flight=8,
        duration_ns=10**12,
        timeout_ns=10**9,
        check="id",
    )


def recorded(folder: Path) -> Counter[str]:
    """What the rings of a dead process hold, by protocol."""
    found: Counter[str] = Counter()
    for path in folder.glob("*.ring"):
        _, _, records = recover_usage_ring(path)
        found.update(("udp", "http", "http")[record[PROTOCOL_AT]] for record in RECORD.iter_unpack(records))
    return found


@contextmanager
def child(folder: Path, point: str) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """The process and its ports."""
    arguments = [sys.executable, slow_child.__file__, str(folder), point]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        udp, http = process.stdout.readline().split()
        try:
            yield process, int(udp), int(http)
        finally:
            process.kill()


@pytest.mark.parametrize("point", ["udp", "http", "any"])
def test_the_main_threads_answers_count_if_and_only_if_they_were_sent(tmp_path: Path, point: str) -> None:
    with child(tmp_path, point) as (process, udp, http):
        clients = Clients(udp, http)
        if point == "any":
            clients.wait_for(300)
            process.kill()
        assert process.wait(timeout=60) == -signal.SIGKILL
        received = clients.received()
    assert recorded(tmp_path) == received
    assert received["udp"] > 0
    assert received["http"] > 0
