"""Counters, rates and latencies of a whole server, and the log level that an operator sets."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

pytestmark = pytest.mark.acceptance

Server = Any
"""`Running` of conftest.py."""


def samples(server: Server) -> dict[str, float]:
    """Every sample of /metrics by its name and labels."""
    status, headers, body = server.http("GET", "/metrics", port="health", key=None)
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = text_string_to_metric_families(body.decode())  # type: ignore[no-untyped-call]
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def stress(server: Server, what: str) -> dict[str, Any]:
    status, _, body = server.http("GET", f"/admin/stress-{what}", X_Admin_Key=server.ready["admin_key"])
    assert status == 200
    told: dict[str, Any] = json.loads(body)
    return told


def test_metrics_tell_of_feeds_prices_and_requests(server: Server) -> None:
    before = samples(server)
    for _ in range(10):
        server.udp({"asset": "BTC"})
        server.http("GET", "/price?asset=BTC")
    after = samples(server)
    for name in ("beast_udp_requests_total", "beast_tcp_requests_total"):
        assert after[name] - before[name] == 10
    assert after["beast_ready"] == 1
    for exchange in ("coinbase", "kraken", "okx"):
        assert after[f"beast_feed_up {exchange}"] == 1
        assert after[f"beast_feed_symbols_subscribed {exchange}"] == after[f"beast_feed_symbols_wanted {exchange}"] > 0
    assert after["beast_prices live"] > 50
    assert after["beast_db_open_conns"] >= 1
    assert after["beast_loop_lag_seconds_bucket +Inf"] > 0


def test_stress_stats_count_from_the_reset_and_metrics_go_on(server: Server) -> None:
    server.udp({"asset": "BTC"})
    total = samples(server)["beast_udp_requests_total"]
    assert stress(server, "reset")["udp_requests"] >= 1
    for _ in range(20):
        server.udp({"asset": "BTC"})
    time.sleep(0.1)
    stats = stress(server, "stats")
    assert (stats["udp_requests"], stats["inner"]["udp_answered"], stats["syncmap_hits"]) == (20, 20, 20)
    assert stats["derived"]["rps"]["udp"]["since_reset"] > 0
    assert stats["derived"]["hit_pct"]["memory"] == 100
    assert stats["latency_us"]["loop_lag"]["p99"] is not None
    assert samples(server)["beast_udp_requests_total"] == total + 20


def test_the_log_level_changes_while_the_server_runs(start: Callable[..., Server]) -> None:
    """A demo is quiet: of the two changes only that made at level debug is told. A reset is always told."""
    server = start("--log-format", "json")
    stress(server, "reset")
    for profile in ("debug", "demo"):
        assert server.beast("profile", "apply", profile).returncode == 0
        time.sleep(1)  # what a change may take
    assert server.stop() == 0
    events = [json.loads(line)["event"] for line in server.err.splitlines()]
    assert events.count("parameters changed") == 1
    assert events.count("stress-reset") == 1
