"""How fast usage goes: records from the rings into the spool, and rows from batches into PostgreSQL. Under a minute.

    python -m bench.usage.speed                 both; one line of JSON each
    python -m bench.usage.speed --rows 500000   a smaller table

`drain`: records a second of one core, as CPU time of the whole process: cut, encoded, compressed, written, synced.
`copy`: rows a second of one core of PostgreSQL, as CPU time of its processes, a checkpoint at the end included: through
the consumer, with the indexes of an open day, the identities and the counters.
"""

import argparse
import asyncio
import json
import random
import struct
import sys
import tempfile
import time
from pathlib import Path

from bench.database.postgres import running, server_s

from beast._fast import USAGE_RECORD, sum_usage, usage_runs
from beast.base.clock import SystemClock
from beast.storage.database import Database
from beast.usage.codec import pack
from beast.usage.consumer import book
from beast.usage.records import runs_of
from beast.usage.spool import Spool
from beast.usage.types import BATCH_RECORDS, Batch, Name

KEYS, INSTRUMENTS = 1_000, 150
FLUSH_RECORDS = 100_000
NAMES = {number: Name(number, f"A{number}", ("kraken", "okx", "coinbase")[number % 3]) for number in range(INSTRUMENTS)}


def records(count: int, *, lane: int, first: int, time_ns: int) -> bytes:
    """What a busy lane records: batches of up to 32 answers, prices of 150 assets, a thousand keys."""
    chance = random.Random(lane * 1_000_003 + first)
    packed = struct.Struct(USAGE_RECORD).pack
    out = []
    sequence = first
    while sequence < first + count:
        time_ns += chance.randrange(20_000, 60_000)
        latency = chance.randrange(5_000, 60_000)
        for _ in range(min(chance.randrange(1, 33), first + count - sequence)):
            key, instrument = chance.randrange(KEYS), chance.randrange(INSTRUMENTS)
            age = int(chance.expovariate(1 / 300))
            out.append(packed(time_ns, sequence, key, 0, instrument, age, latency, 0, 1, lane & 1, lane, 1, 0, 0))
            sequence += 1
    return b"".join(out)


def drain(count: int, folder: Path) -> dict[str, object]:
    """Everything that the drainer does behind the ring."""
    chunk = records(BATCH_RECORDS, lane=0, first=1, time_ns=time.time_ns())
    chunks = max(1, count // BATCH_RECORDS)
    spool = Spool(folder, max_bytes=1 << 34)
    spool.open()
    written = unsynced = 0
    begun, cpu = time.perf_counter(), time.process_time()
    for number in range(chunks):
        sum_usage(chunk)
        usage_runs(chunk)
        batches = [pack(run, node="n1", boot=number + 1, names=NAMES) for run in runs_of(chunk)]
        spool.append(batches)
        written += sum(len(batch.data) for batch in batches)
        unsynced += BATCH_RECORDS
        if unsynced >= FLUSH_RECORDS:
            spool.sync()
            unsynced = 0
    spool.sync()
    wall_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    spool.close()
    total = chunks * BATCH_RECORDS
    return {
        "bench": "drain",
        "records": total,
        "per_second_of_one_core": round(total / cpu_s),
        "per_second": round(total / wall_s),
        "bytes_per_record": round(written / total, 2),
    }


def batches(count: int, lanes: int = 4) -> list[Batch]:
    """Of several lanes, in the order in which they would come."""
    made = []
    now_ns = time.time_ns() // 3_600_000_000_000 * 3_600_000_000_000
    for at in range(count // BATCH_RECORDS):
        lane, first = at % lanes, 1 + at // lanes * BATCH_RECORDS
        data = records(BATCH_RECORDS, lane=lane, first=first, time_ns=now_ns + at // lanes * 40_000_000)
        made += [pack(run, node="n1", boot=1, names=NAMES) for run in runs_of(data)]
    return made


async def copy(count: int) -> dict[str, object]:
    """Through the consumer, group by group, as the sink does."""
    made = batches(count)
    with running() as server:
        pid = server.pid()
        assert pid is not None
        async with Database(server.url()) as database:
            await database.execute(
                b"INSERT INTO api_keys (key_hash, prefix, tier)"
                b" SELECT sha256(n::text::bytea), 'tb_', 'partner' FROM generate_series(1, 1000) AS n"
            )
            begun, cpu = time.perf_counter(), server_s(pid)
            for at in range(0, len(made), 3):
                await book(database, made[at : at + 3], SystemClock())
            await database.execute(b"CHECKPOINT")
            wall_s, cpu_s = time.perf_counter() - begun, server_s(pid) - cpu
    rows = sum(batch.records for batch in made)
    return {
        "bench": "copy",
        "rows": rows,
        "per_second_of_one_core": round(rows / cpu_s),
        "per_second": round(rows / wall_s),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--rows", type=int, default=1_500_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="beast-usage-") as name:
        print(json.dumps(drain(asked.records, Path(name) / "spool")), flush=True)
    print(json.dumps(asyncio.run(copy(asked.rows))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
