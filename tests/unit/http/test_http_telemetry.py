"""/metrics, as a collector reads it; /admin/stress-stats and -reset, as an operator does."""

import asyncio
import json
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.fixtures.http_app import ADMIN, ADMIN_KEY, serving
from tests.fixtures.services import make_services

from beast._fast import COUNTERS, PUBLIC_COUNTERS, monotonic_ns
from beast.base.log import configure_logging
from beast.engine.telemetry import GAUGES
from beast.http.app import build_app
from beast.http.health import Health, build_health_app
from beast.http.metrics import count_states, exposition
from beast.http.openmetrics import BOUNDS_NS, Family, write
from beast.http.routes.telemetry import metrics_route
from beast.http.services import Services
from beast.prices.types import Market

pytestmark = pytest.mark.anyio


@pytest.fixture
def services() -> Services:
    return make_services()


def read(text: str) -> dict[str, Metric]:
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {family.name: family for family in families}


async def test_the_exposition_is_openmetrics_and_tells_everything(services: Services) -> None:
    async def expose() -> str:
        return await exposition(services)

    services.engine.ask(b'{"api_key":"tb_partner","asset":"BTC"}')
    async with serving(build_health_app(Health(), metrics_route(expose))) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.text.endswith("\n# EOF\n")
    families = read(answer.text)
    assert all(family.documentation for family in families.values())
    for name in COUNTERS:
        family = families[f"beast_{name}"]
        assert family.type == ("gauge" if name in GAUGES else "counter")
    [asked] = families["beast_udp_requests"].samples
    assert (asked.name, asked.value) == ("beast_udp_requests_total", 1)
    assert families["beast_build"].samples[0].labels == {"version": "0", "node": "test", "region": "here"}
    assert {sample.labels["state"]: sample.value for sample in families["beast_prices"].samples} == {
        "live": 1, "quiet": 0, "stale": 0, "none": 2,
    }  # fmt: skip
    assert families["beast_api_keys"].samples[0].value == 3
    assert families["beast_usage_pending"].samples[0].value == 7
    assert families["beast_loop_lag_seconds"].type == "histogram"


async def test_a_reset_leaves_the_collectors_counters_alone(services: Services) -> None:
    services.engine.ask(b'{"api_key":"tb_partner","asset":"BTC"}')
    services.telemetry.reset()
    assert "beast_udp_requests_total 1\n" in await exposition(services)


async def test_many_prices_are_counted_in_turns(services: Services) -> None:
    services.catalogue.load([Market(exchange="okx", asset=f"A{n}", currency="USD") for n in range(60)])
    first = services.catalogue.instruments()[0]
    services.engine.publish(first.id, b"1", 1, monotonic_ns() - 60 * 10**9)
    counting = asyncio.ensure_future(count_states(services))
    assert await counting == {"stale": 1, "none": 59}


@given(
    st.dictionaries(st.sampled_from(["exchange", "node"]), st.text(st.characters(exclude_categories=["Cs"]))),
    st.text(st.characters(exclude_categories=["Cs"])).map(str.strip),
    st.floats(allow_nan=False),
)
def test_any_text_and_value_survives_the_format(labels: dict[str, str], text: str, value: float) -> None:
    [family] = read(write([Family("x", "gauge", text, [(labels, value)])])).values()
    [sample] = family.samples
    assert (sample.labels, sample.value, family.documentation) == (labels, value, text)


@given(st.dictionaries(st.integers(0, 2**40), st.integers(0, 2**40)))
def test_buckets_are_cumulative_and_end_with_all_of_them(counts: dict[int, int]) -> None:
    [family] = read(write([Family("x_seconds", "histogram", "x", [({}, sorted(counts.items()))])])).values()
    told = [(float(sample.labels["le"]), sample.value) for sample in family.samples]
    assert [bound for bound, _ in told] == [*(bound / 1e9 for bound in BOUNDS_NS), math.inf]
    assert told[-1][1] == sum(counts.values())
    assert [value for _, value in told] == sorted(value for _, value in told)


async def test_stress_stats_and_reset(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("error", "json")
    services.engine.ask(b'{"api_key":"tb_partner","asset":"BTC"}')
    async with serving(build_app(services, ADMIN_KEY)) as client:
        for path in ("/admin/stress-stats", "/admin/stress-reset"):
            assert (await client.get(path)).status_code == 401
        stats = (await client.get("/admin/stress-stats", headers=ADMIN)).json()
        told = (await client.get("/admin/stress-reset", headers=ADMIN)).json()
        after = (await client.get("/admin/stress-stats", headers=ADMIN)).json()
    assert (stats["node"], stats["region"]) == ("test", "here")
    assert [name for name in stats if name in COUNTERS] == list(COUNTERS[:PUBLIC_COUNTERS])
    assert list(stats["inner"]) == list(COUNTERS[PUBLIC_COUNTERS:])
    assert set(stats["derived"]) == {"rps", "hit_pct", "drop_pct"}
    assert set(stats["latency_us"]["loop_lag"]) == {"p50", "p90", "p99", "p99_9", "max"}
    assert stats["uptime_s"] >= 0
    assert [each["udp_requests"] for each in (stats, told, after)] == [1, 1, 0]
    # Written although the level is "error".
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["client"], line["path"]) == ("stress-reset", "127.0.0.1", "/admin/stress-reset")
    logging.getLogger().handlers.clear()
