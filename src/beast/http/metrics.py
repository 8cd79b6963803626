"""Everything that /metrics tells: totals since the start, never reset, and how things are now."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

from beast.engine.counter_texts import COUNTER_TEXTS
from beast.engine.histogram import Buckets
from beast.engine.telemetry import GAUGES
from beast.feeds.manager import ExchangeStatus
from beast.http.openmetrics import Family, write
from beast.http.services import Services

STATES = ("live", "quiet", "stale", "none")
TURN = 256
"""Prices looked at in one turn of the loop."""
DURATIONS = {
    "udp": ("request_duration_seconds", {"protocol": "udp"}),
    "http": ("request_duration_seconds", {"protocol": "http"}),
    "parked": ("parked_request_duration_seconds", {"protocol": "udp"}),
    "visible": ("tick_to_serve_seconds", {}),
    "loop_lag": ("loop_lag_seconds", {}),
}
DURATION_TEXTS = {
    "request_duration_seconds": "From a request's arrival to its answer's departure",
    "parked_request_duration_seconds": "The same of requests that waited for a slower tier",
    "tick_to_serve_seconds": "From a frame's arrival to the moment when its price could be asked",
    "loop_lag_seconds": "How much later than asked the event loop woke a sleeper",
}


async def exposition(services: Services) -> str:
    """One scrape, in OpenMetrics text."""
    states = await count_states(services)
    return write(
        [
            *_process(services),
            *_counters(services.telemetry.counters()),
            *_durations(services.telemetry.latencies()),
            *_feeds(services.feeds.status()),
            Family(
                "beast_prices",
                "gauge",
                "Prices by state; none: there was no trade yet",
                [({"state": state}, states[state]) for state in STATES],
            ),
        ]
    )


async def count_states(services: Services) -> Counter[str]:
    """How many markets' prices are in each state; ten thousand of them don't hold the loop."""
    states: Counter[str] = Counter()
    for number, instrument in enumerate(services.catalogue.instruments()):
        if number % TURN == TURN - 1:
            await asyncio.sleep(0)
        if services.catalogue.find(instrument.market.exchange, instrument.market.asset) is instrument:
            held = services.engine.peek(instrument.id)
            states[str(held["state"]) if held else "none"] += 1
    return states


def _process(services: Services) -> Iterator[Family]:
    def gauge(name: str, text: str, value: float) -> Family:
        return Family(name, "gauge", text, [({}, value)])

    build = {"version": services.version, "node": services.node, "region": services.region}
    yield Family("beast_build", "info", "Which server this is", [(build, 1)])
    yield gauge("beast_uptime_seconds", "Since the server was started", services.uptime_s())
    yield gauge("beast_ready", "Whether requests should be sent here", int(services.health.ready))
    yield gauge("beast_degraded", "How many parts are not as they should be", len(services.health.report().degraded))
    yield gauge("beast_api_keys", "API keys in memory", services.engine.key_count)
    yield gauge("beast_usage_pending", "Answers that are not yet with the accounts", services.usage_pending())


def _counters(counters: dict[str, int]) -> Iterator[Family]:
    for name, value in counters.items():
        yield Family(f"beast_{name}", "gauge" if name in GAUGES else "counter", COUNTER_TEXTS[name], [({}, value)])


def _durations(latencies: dict[str, Buckets]) -> Iterator[Family]:
    for metric, text in DURATION_TEXTS.items():
        samples = [
            (labels, latencies[name])
            for name, (family, labels) in DURATIONS.items()
            if family == metric and name in latencies
        ]
        if samples:
            yield Family(f"beast_{metric}", "histogram", text, samples)


def _feeds(exchanges: Sequence[ExchangeStatus]) -> Iterator[Family]:
    def by_exchange(values: Iterator[tuple[ExchangeStatus, float]]) -> list[tuple[dict[str, str], float]]:
        return [({"exchange": each.name}, value) for each, value in values]

    yield Family(
        "beast_feed_up",
        "gauge",
        "Whether every connection to the exchange is open",
        by_exchange((each, int(each.connected)) for each in exchanges),
    )
    yield Family(
        "beast_feed_last_frame_age_seconds",
        "gauge",
        "Since the exchange's last sign of life",
        by_exchange((each, each.last_frame_age_ms / 1e3) for each in exchanges if each.last_frame_age_ms is not None),
    )
    yield Family(
        "beast_feed_symbols_wanted",
        "gauge",
        "Symbols that are to be subscribed",
        by_exchange((each, each.wanted) for each in exchanges),
    )
    yield Family(
        "beast_feed_symbols_subscribed",
        "gauge",
        "Symbols whose subscription the exchange has confirmed",
        by_exchange((each, each.acked) for each in exchanges),
    )
    yield Family(
        "beast_feed_reconnects",
        "counter",
        "Connections to the exchange made again since its rows were last changed",
        by_exchange((each, each.reconnects) for each in exchanges),
    )
