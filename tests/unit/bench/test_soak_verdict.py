"""What a soak makes of its samples."""

import json
from typing import Any

import msgspec
import pytest
from bench.soak_faults import ARGUMENTS, CALM_S, plan
from bench.soak_verdict import Finding, Minute, Server, Totals, between, judge, row, slope
from hypothesis import given
from hypothesis import strategies as st

from beast._fast import LOAD_BUCKETS_NS
from beast.base.clock import ManualClock
from beast.engine.load import Figures
from beast.feeds.simulator.faults import KINDS, Faults

SOUND = {
    "udp_packets_received": 100,
    "udp_answered": 100,
    "udp_refused": 0,
    "udp_ignored": 0,
    "udp_parked": 0,
    "udp_kernel_drops": 0,
    "udp_send_errors": 0,
    "udp_packets_dropped": 0,
    "tcp_requests": 40,
    "http_answered": 40,
    "usage_records": 140,
    "usage_lost": 0,
}


def figures(count: int, **others: Any) -> Figures:
    return Figures(**{"sent": count, "answered": count, **others})


def totals(*, counters: dict[str, int] | None = None, **others: Any) -> Totals:
    known: dict[str, Any] = {"udp": figures(100), "http": figures(40), "billed": 140}
    return Totals(**{**known, **others}, counters=SOUND | (counters or {}))


def minutes(
    count: int = 60, *, rss: float = 0.0, descriptors: float = 0.0, slower: dict[str, float] | None = None
) -> list[Minute]:
    """So many samples; memory and descriptors grow by so much a minute, percentiles by such factors over all."""

    def at(number: int, name: str) -> float:
        return 100.0 * (1 + ((slower or {}).get(name, 1.0) - 1) * number / (count - 1))

    def client(number: int) -> dict[str, Any]:
        return {name: at(number, name) for name in ("p50_us", "p90_us", "p99_us", "p999_us")}

    def server(number: int) -> dict[str, dict[str, float | None]]:
        shares = {name: at(number, f"server {name}") for name in ("p50", "p90", "p99", "p99_9")}
        return {"udp": {**shares}, "http": dict.fromkeys(shares, None)}

    return [
        Minute(
            minute=number + 1.0,
            udp=client(number),
            http=client(number),
            server=Server(
                counters={},
                latency_us=server(number),
                rss_kib=100_000 + int(rss * number),
                descriptors=100 + int(descriptors * number),
            ),
            busy={},
            load_average=0.0,
            faults=(),
        )
        for number in range(count)
    ]


def failed(findings: list[Finding]) -> list[str]:
    return [finding.name for finding in findings if not finding.passed]


def test_a_sound_hour_passes() -> None:
    assert failed(judge(minutes(), totals())) == []


@pytest.mark.parametrize(
    ("spoilt", "names"),
    [
        ({"udp": figures(100, lost=1)}, ["udp: no loss"]),
        ({"http": figures(40, unsent=1)}, ["http: no loss"]),
        ({"http": figures(40, reconnects=1)}, ["http: no loss"]),
        ({"udp": figures(100, wrong={"STRAY": 1})}, ["udp: no wrong answer"]),
        ({"http": figures(40, refused={"stale": 1})}, ["http: no refusal"]),
        ({"counters": {"udp_kernel_drops": 1}}, ["no datagram dropped"]),
        ({"counters": {"usage_lost": 1}}, ["no usage record lost"]),
        ({"counters": {"udp_ignored": 1}}, ["datagrams: sent, received, ended"]),
        ({"counters": {"http_answered": 41}}, ["http: answers at both ends"]),
        ({"billed": 139}, ["usage: answers, records, billed"]),
    ],
)
def test_each_kind_of_loss_is_found(spoilt: dict[str, Any], names: list[str]) -> None:
    assert failed(judge(minutes(), totals(**spoilt))) == names


@pytest.mark.parametrize(
    ("growth", "names"),
    [
        ({"rss": 30}, []),
        ({"rss": 50}, ["memory: no growth"]),
        ({"rss": -50}, []),
        ({"descriptors": 1 / 60}, []),
        ({"descriptors": 0.1}, ["descriptors: no growth"]),
        ({"slower": {"p99_us": 1.3}}, []),
        ({"slower": {"p99_us": 1.6}}, ["udp: p99 flat", "http: p99 flat"]),
        ({"slower": {"server p50": 0.5}}, []),
        ({"slower": {"server p50": 1.6}}, ["udp in the server: p50 flat"]),
    ],
)
def test_growth_is_found(growth: dict[str, Any], names: list[str]) -> None:
    assert failed(judge(minutes(**growth), totals())) == names


def test_growth_while_warming_up_is_none() -> None:
    hour = minutes()
    for number in range(8):
        cold = msgspec.structs.replace(hour[number].server, rss_kib=50_000 + 5_000 * number)
        hour[number] = msgspec.structs.replace(hour[number], server=cold)
    assert failed(judge(hour, totals())) == []


@pytest.mark.parametrize("count", [0, 1])
def test_a_soak_without_a_steady_minute_does_not_pass(count: int) -> None:
    found = failed(judge(minutes()[:count], totals()))
    assert {"memory: no growth", "udp: p50 flat", "udp in the server: p50 flat"} <= set(found)


@given(st.floats(-1e3, 1e3), st.floats(-1e6, 1e6), st.integers(2, 60))
def test_the_slope_of_a_line_is_its_own(rise: float, start: float, count: int) -> None:
    assert slope([(x / 60, start + rise * x / 60) for x in range(count)]) == pytest.approx(rise, abs=1e-3)


@pytest.mark.parametrize("points", [[], [(1.0, 5.0)], [(1.0, 5.0), (1.0, 9.0)]])
def test_too_few_points_have_no_slope(points: list[tuple[float, float]]) -> None:
    assert slope(points) == 0


def test_a_minute_is_what_came_between_two_looks() -> None:
    before = Figures(sent=10, answered=8, wrong={"STRAY": 1}, elapsed_ns=10**9, worst_ns=900_000, latency=(0, 8, 0, 0))
    now = Figures(
        sent=30,
        answered=26,
        wrong={"STRAY": 1, "STALE": 1},
        refused={"stale": 2},
        elapsed_ns=3 * 10**9,
        worst_ns=900_000,
        latency=(0, 8, 18, 0),
    )
    minute = between(before, now)
    assert (minute.sent, minute.answered, minute.wrong, minute.refused) == (20, 18, {"STALE": 1}, {"stale": 2})
    assert minute.latency == (0, 0, 18, 0)
    assert row(minute)["per_second"] == 9
    assert row(minute)["max_us"] == LOAD_BUCKETS_NS[3] / 1e3


def test_a_minute_without_answers_has_no_worst_one() -> None:
    now = Figures(sent=10, answered=8, worst_ns=900_000, latency=(0, 8, 0, 0))
    assert row(between(now, now))["max_us"] == 0
    assert between(Figures(), now) == now


def test_findings_can_be_written() -> None:
    assert json.loads(msgspec.json.encode(judge(minutes(), totals())))[0]["passed"] is True


EXCHANGES = ("coinbase", "kraken", "gemini", "okx")


@given(st.integers(), st.integers(1, 7200))
def test_one_exchange_at_a_time_fails_and_never_twice_in_a_row(seed: int, seconds: int) -> None:
    planned = plan(seed, EXCHANGES, seconds)
    assert planned == plan(seed, EXCHANGES, seconds)
    free_s, last = CALM_S, ""
    for at_s, fault in planned:
        assert fault.seconds is not None
        assert at_s >= free_s
        assert fault.exchange != last
        free_s, last = at_s + fault.seconds, fault.exchange
    assert free_s <= max(CALM_S, seconds - CALM_S) + 0.2


def test_an_hour_brings_every_kind_to_every_exchange() -> None:
    planned = [fault for _, fault in plan(1, EXCHANGES, 3600)]
    assert {fault.kind for fault in planned} == set(ARGUMENTS)
    assert {fault.exchange for fault in planned} == set(EXCHANGES)


def test_the_simulator_knows_every_fault() -> None:
    for kind, ways in ARGUMENTS.items():
        assert kind in KINDS
        for arguments in ways:
            Faults(ManualClock()).set(kind, None, arguments)
