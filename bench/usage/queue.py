"""What the way through SQS costs: messages and calls for a million answers, and answers a second through an emulator.

    python -m bench.usage.queue                    a million answers; one line of JSON for each way to make batches
    python -m bench.usage.queue --records 200000

`full`: batches as long as a message takes. `flushed`: of 10,000 answers, what 100,000 a second make with the built-in
`sqs_flush_ms`. Calls are all calls of the sink, and then all of the consumer, those that ask included. The emulator is
one process of Python on the same machine: the figures by the second say what this side can do at least.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.usage.speed import NAMES, records
from tests.fixtures.emulator import CREDENTIALS, Emulator, running_emulator

from beast.base.clock import SystemClock
from beast.storage.database import Database
from beast.storage.embedded import EmbeddedPostgres
from beast.storage.migrate import migrate
from beast.usage.codec import pack, seal
from beast.usage.consumer import GROUP_RECORDS
from beast.usage.consuming import Consuming
from beast.usage.records import runs_of
from beast.usage.sqs import SqsQueue
from beast.usage.sqs_sink import SqsSink
from beast.usage.sqs_source import SqsSource
from beast.usage.types import BATCH_RECORDS, Batch

FLUSHED = 10_000


def batches(count: int, longest: int, boot: int) -> list[Batch]:
    now_ns = time.time_ns() // 3_600_000_000_000 * 3_600_000_000_000
    data = records(count, lane=0, first=1, time_ns=now_ns)
    return [pack(run, node="n1", boot=boot, names=NAMES) for run in runs_of(data, longest)]


async def travel(database: Database, emulator: Emulator, name: str, made: list[Batch]) -> dict[str, object]:
    """Through a queue of its own, in groups as the pump makes them, and then into the tables."""
    url = emulator.make_queue(name)
    sending, receiving = SqsQueue(url, timeout_s=30), SqsQueue(url, timeout_s=30)
    sink = SqsSink(sending, database, print)
    await sink.open()
    group = max(1, GROUP_RECORDS // made[0].records)
    begun, cpu = time.perf_counter(), time.process_time()
    for at in range(0, len(made), group):
        part = made[at : at + group]
        if len(await sink.put(part)) != len(part):
            raise SystemExit("the queue did not take everything")
    sent_s, sent_cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    consuming = Consuming(SqsSource(receiving, wait_s=0), database, SystemClock())
    begun = time.perf_counter()
    await consuming.run(asyncio.Event(), until_empty=True)
    booked_s = time.perf_counter() - begun
    total = sum(batch.records for batch in made)
    if consuming.booked != sink.messages:
        raise SystemExit(f"{consuming.booked} of {sink.messages} messages were booked")
    return {
        "bench": "queue",
        "batches": name,
        "records": total,
        "records_a_message": round(total / sink.messages),
        "bytes_a_record": round(sum(len(seal(batch)) for batch in made) / total, 2),
        "messages_per_million": round(sink.messages * 1e6 / total, 1),
        "calls_to_send_per_million": round(sending.calls * 1e6 / total, 1),
        "calls_to_consume_per_million": round(receiving.calls * 1e6 / total, 1),
        "records_a_call": round(total / sending.calls),
        "sent_per_second": round(total / sent_s),
        "sent_per_second_of_one_core": round(total / sent_cpu_s),
        "booked_per_second": round(total / booked_s),
    }


async def measure(count: int, url: str, emulator: Emulator) -> None:
    async with Database(url) as database:
        await database.execute(
            b"INSERT INTO api_keys (key_hash, prefix, tier)"
            b" SELECT sha256(n::text::bytea), 'tb_', 'partner' FROM generate_series(1, 1000) AS n"
        )
        for boot, (name, longest) in enumerate({"full": BATCH_RECORDS, "flushed": FLUSHED}.items(), start=1):
            print(json.dumps(await travel(database, emulator, name, batches(count, longest, boot))), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    asked = parser.parse_args()
    os.environ.update(CREDENTIALS)
    with tempfile.TemporaryDirectory(prefix="beast-queue-") as name, running_emulator() as emulator:
        folder = Path(name)
        folder.chmod(0o711)
        server = EmbeddedPostgres(folder / "home")
        server.start()
        try:
            migrate(server.url())
            asyncio.run(measure(asked.records, server.url(), emulator))
        finally:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
