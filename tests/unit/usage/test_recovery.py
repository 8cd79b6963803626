"""What a dead server has left in its rings is spooled once, with its names; what is spooled already is passed over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from beast.usage.names import Life, Names, read_names
from beast.usage.recovery import recover_rings
from beast.usage.spool import Spool
from beast.usage.types import BATCH_RECORDS, Name

CHILD = """
import os, signal, sys
from hashlib import sha256
from beast._fast import Engine, UsageRings, monotonic_ns
engine = Engine(node="n1", max_keys=1024, max_instruments=64, usage_dir=sys.argv[1], boot=int(sys.argv[2]))
engine.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
engine.publish(0, b"1.5", 1_776_003_781_000_000_000, monotonic_ns())
engine.put_key(sha256(b"tb_1").digest(), 1, per_second=0, burst=0, partner=True)
for _ in range(int(sys.argv[3])):
    engine.ask(b'{"api_key":"tb_1","asset":"BTC"}')
os.kill(os.getpid(), signal.SIGKILL)
"""
BOOT = 1_776_000_000_000_000_000
PRESENT = Life("n1", BOOT + 1, "machine")


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    """Ten answers of a server that was killed."""
    folder = tmp_path / "rings"
    os.close(Names(folder, Life("n0", BOOT, "machine"))._file)
    subprocess.run([sys.executable, "-c", CHILD, folder, str(BOOT), "10"], check=False, timeout=60)
    return folder


def opened(folder: Path) -> Spool:
    spool = Spool(folder, max_bytes=1 << 30)
    spool.open()
    return spool


def test_records_are_spooled_under_the_name_of_who_made_them(rings: Path, tmp_path: Path) -> None:
    names = rings / f"{BOOT}.names"
    names.write_bytes(names.read_bytes() + b'[0,"BTC","okx"]\n[1,"ET')
    spool = opened(tmp_path / "spool")
    [found] = [each for each in recover_rings(rings, spool, life=PRESENT, longest=BATCH_RECORDS) if each.runs]
    assert (found.life.node, found.life.boot, found.mark) == ("n0", BOOT, 0)
    [batch] = spool.take(batches=9, records=1 << 30)
    assert (batch.node, batch.boot, batch.first, batch.last) == ("n0", BOOT, 1, 10)
    assert batch.names == (Name(0, "BTC", "okx"),)
    assert list(rings.iterdir()) == []


def test_what_is_spooled_already_is_passed_over(rings: Path, tmp_path: Path) -> None:
    before = list(rings.iterdir())
    kept = {path: path.read_bytes() for path in before}
    spool = opened(tmp_path / "spool")
    recover_rings(rings, spool, life=PRESENT, longest=4)
    assert [batch.first for batch in spool.take(batches=9, records=1 << 30)] == [1, 5, 9]
    # As if it had died before it could remove them.
    for path, data in kept.items():
        path.write_bytes(data)
    spool = opened(tmp_path / "spool")
    assert all(not each.runs for each in recover_rings(rings, spool, life=PRESENT, longest=3))
    assert [batch.first for batch in spool.take(batches=9, records=1 << 30)] == [1, 5, 9]


def test_rings_of_before_the_power_went_are_put_aside(rings: Path, tmp_path: Path) -> None:
    spool = opened(tmp_path / "spool")
    after = Life("n1", BOOT + 1, "the same machine, started again")
    assert all(not each.runs for each in recover_rings(rings, spool, life=after, longest=BATCH_RECORDS))
    assert spool.take(batches=9, records=1 << 30) == []
    assert len(list(rings.glob("*.untrusted"))) == 1


def test_what_is_no_ring_is_put_aside(tmp_path: Path) -> None:
    folder = tmp_path / "rings"
    folder.mkdir()
    (folder / "00000000000000000007-000.ring").write_bytes(b"nonsense")
    assert recover_rings(folder, opened(tmp_path / "spool"), life=PRESENT, longest=BATCH_RECORDS) == []
    assert [path.suffix for path in folder.iterdir()] == [".untrusted"]


def test_a_later_name_wins(tmp_path: Path) -> None:
    names = Names(tmp_path, PRESENT)
    names.tell([Name(0, "BTC", "okx"), Name(1, "ETH", "okx")])
    taken = names.current
    names.tell([Name(1, "ETH", "kraken"), Name(0, "BTC", "okx")])
    assert taken[1] == Name(1, "ETH", "okx")
    life, read = read_names(names.path)
    assert (life, read) == (PRESENT, {0: Name(0, "BTC", "okx"), 1: Name(1, "ETH", "kraken")})
    assert names.path.read_bytes().count(b"\n") == 4
