"""Requests of both protocols are timed by the workers, and the percentiles reach the operator's figures."""

from hashlib import sha256

import pytest

from beast._fast import Engine, Load, monotonic_ns
from beast.base.clock import ManualClock
from beast.engine.histogram import Histogram
from beast.engine.telemetry import PERCENTILES, Telemetry
from beast.http.metrics import DURATIONS

pytestmark = pytest.mark.integration


def ask(protocol: str, port: int) -> None:
    load = Load(
        protocol=protocol,
        host="127.0.0.1",
        port=port,
        keys=[b"tb_1"],
        assets=[b"BTC"],
        sockets=4,
        in_flight=4,
        duration_ns=50_000_000,
    )
    load.run()


def test_every_protocol_has_its_percentiles() -> None:
    engine = Engine(node="test", max_keys=1024, max_instruments=64, latency_sample=2)
    engine.load_instruments([(0, "BTC", "okx", "USDT", 1, 0)])
    engine.publish(0, b"1.5", 1_776_003_781_000_000_000, monotonic_ns())
    engine.put_key(sha256(b"tb_1").digest(), 1, per_second=0, burst=0, partner=True)
    engine.start()
    telemetry = Telemetry(engine, ManualClock(), loop_lag=Histogram())
    try:
        ask("udp", engine.udp_port)
        ask("http", engine.http_port)
    finally:
        engine.stop()
    told, counters = telemetry.stats().latency_us, engine.counters()
    assert set(told) == set(DURATIONS)
    assert told["parked"] == dict.fromkeys(PERCENTILES)
    for protocol in ("udp", "http"):
        measured = list(told[protocol].values())
        assert all(value is not None and 0 < value < 1e6 for value in measured)
        assert measured == sorted(measured, key=lambda value: value or 0)
    timed = sum(count for _, count in engine.histograms()["http"])
    assert timed == counters["http_answered"] // 2
