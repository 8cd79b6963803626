"""A whole server whose usage goes through SQS, its consumer, and the commands that tell of both."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.emulator import CREDENTIALS, Emulator, running_emulator

pytestmark = [pytest.mark.acceptance, pytest.mark.xdist_group("acceptance-usage"), pytest.mark.timeout(300)]

ANSWERS = 40


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_emulator() as running:
        yield running


def test_usage_goes_through_the_queue_and_is_booked_by_its_consumer(
    start: Callable[..., Any], homes: Path, emulator: Emulator
) -> None:
    url = emulator.make_queue("usage")
    config = homes / "queue.toml"
    config.write_text(f'usage_queue_url = "{url}"\n')
    server = start("--config", str(config))
    for _ in range(ANSWERS):
        assert "price" in json.loads(server.udp({"asset": "BTC"})[0])

    def verified() -> dict[str, Any]:
        status, _, body = server.http("GET", "/admin/usage/verify", key=None, X_Admin_Key=server.ready["admin_key"])
        assert status == 200
        found: dict[str, Any] = json.loads(body)
        return found

    begun = time.monotonic()
    while not (verified()["queue"]["messages"] and verified()["made"] >= ANSWERS):
        assert time.monotonic() - begun < 60
        time.sleep(0.2)
    found = verified()
    assert (found["ok"], found["booked"], found["waiting"]) == (True, 0, found["made"])
    told = server.beast("consume", "--config", str(config), "--until-empty")
    assert (told.returncode, told.stdout.endswith(" batches booked, 0 repeated, 0 dead letters\n")) == (0, True), told
    while verified()["waiting"]:
        assert time.monotonic() - begun < 120
        time.sleep(0.2)
    found = verified()
    assert (found["ok"], found["booked"]) == (True, found["made"])
    assert found["queue"] == {"queue": url, "messages": 0, "in_flight": 0, "error": ""}
    assert server.stop() == 0
