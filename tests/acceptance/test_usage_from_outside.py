"""What clients have received is what they are charged, however often the server dies; and the commands that show it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]


def test_totals_are_what_clients_received_though_processes_were_killed_again_and_again() -> None:
    arguments = ["--requests", "20000", "--keys", "4", "--kills", "2", "--every", "0.7", "--consumers", "1", "--json"]
    command = [sys.executable, "-m", "bench.usage.crash", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    proof = json.loads(done.stdout)
    assert proof["differences"] == []
    assert proof["received"] == proof["in_logs"] == proof["in_counters"] == proof["verified"] >= 20_000
    assert all(proof["by"][way] for way in ("udp", "http", "post"))
    assert proof["kills"]["server"] == 2


def test_usage_is_shown_and_verified_while_the_server_runs_dead_and_afterwards(start: Callable[..., Any]) -> None:
    server = start()
    for _ in range(30):
        assert "price" in json.loads(server.udp({"asset": "BTC"})[0])
    status, _, body = server.http("GET", "/admin/usage/verify", key=None, X_Admin_Key=server.ready["admin_key"])
    found = json.loads(body)
    assert (status, found["ok"]) == (200, True), found
    told = server.beast("usage", "verify", "--json")
    assert (told.returncode, json.loads(told.stdout)["ok"]) == (0, True)
    server.process.kill()
    server.process.wait()
    dead = json.loads(server.beast("usage", "verify", "--json").stdout)
    assert dead["ok"], dead
    assert dead["made"] == dead["booked"] + dead["waiting"]
    assert dead["made"] >= 30
    again = start()
    assert again.stop() == 0
    after = again.beast("usage", "verify")
    assert after.returncode == 0, after.stdout
    assert "every answer is accounted for" in after.stdout
    shown = json.loads(again.beast("usage", "show", "--json").stdout)
    assert [day["answers"] for day in shown["days"]] == [dead["made"]]
    assert "answers" in again.beast("usage", "show").stdout


def test_dead_letters_are_told_shown_and_deleted(start: Callable[..., Any], homes: Path) -> None:
    queue = homes / "queue"
    server = start()
    queue.mkdir()
    (queue / "1.json").write_bytes(b'{"type":"riddle","payload":1}')
    told = server.beast("consume", "--folder", str(queue), "--until-empty")
    assert (told.returncode, told.stdout) == (0, "0 batches booked, 0 repeated, 1 dead letters\n")
    assert not list(queue.iterdir())

    def ask(method: str, path: str) -> tuple[int, bytes]:
        status, _, body = server.http(method, path, key=None, X_Admin_Key=server.ready["admin_key"])
        return status, body

    begun = time.monotonic()
    while (
        "usage dead letters"
        not in json.loads(server.http("GET", "/health/ready", port="health", key=None)[2])["degraded"]
    ):
        assert time.monotonic() - begun < 10
        time.sleep(0.1)
    [letter] = json.loads(ask("GET", "/admin/usage/dead-letters")[1])["dead_letters"]
    assert "riddle" in letter["reason"]
    assert ask("GET", f"/admin/usage/dead-letters/{letter['id']}") == (200, b'{"type":"riddle","payload":1}')
    assert server.beast("usage", "dead-letters", str(letter["id"])).stdout == '{"type":"riddle","payload":1}'
    assert "riddle" in server.beast("usage", "dead-letters").stdout
    verified = server.beast("usage", "verify")
    assert verified.returncode == 1
    assert "1 dead letters" in verified.stdout
    still = server.beast("usage", "dead-letters", str(letter["id"]), "--retry")
    assert (still.returncode, "riddle" in still.stderr) == (1, True)
    assert ask("POST", f"/admin/usage/dead-letters/{letter['id']}/retry")[0] == 409
    assert ask("POST", "/admin/usage/dead-letters/77/retry")[0] == 404
    assert server.beast("usage", "dead-letters", "--retry").returncode == 2
    audited = json.loads(ask("GET", "/admin/audit?action=usage.dead-letter")[1])
    assert [entry["actor"].split(":")[0] for entry in audited["entries"]] == ["operator", "cli"]
    assert ask("DELETE", f"/admin/usage/dead-letters/{letter['id']}")[0] == 200
    assert ask("DELETE", f"/admin/usage/dead-letters/{letter['id']}")[0] == 404
    assert server.beast("usage", "dead-letters", "77").returncode == 1
    assert server.beast("usage", "verify").returncode == 0
