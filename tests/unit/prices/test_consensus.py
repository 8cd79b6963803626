"""The consensus: its promise, and the compiled one against its readable twin."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast._fast import Engine
from beast._fast import find_consensus as compiled
from beast.prices.consensus import TAIL_MAX, Standing, Vote, find_consensus, tail

S = 10**9
NOW = 1_000 * S
PRICES = st.one_of(
    st.floats(1e-9, 1e12),
    st.floats(99.0, 101.0),
    st.sampled_from([0.0, 100.0, 100.5, 1e-8, 5e9]),
)
STANDINGS: list[Standing] = ["live", "live", "live", "quiet", "stale", "held"]
VOTES = st.builds(Vote, PRICES, st.integers(1, 5), st.sampled_from(STANDINGS))
LIVE = st.builds(Vote, st.floats(1e-9, 1e12), st.integers(1, 5), st.just("live"))


@given(st.lists(VOTES, max_size=64), st.integers(0, 500))
def test_the_compiled_one_is_its_twin(votes: list[Vote], outlier_bps: int) -> None:
    wanted = find_consensus(votes, outlier_bps=outlier_bps)
    chosen, standings, spread = compiled(votes, outlier_bps=outlier_bps)
    assert (chosen, standings) == (wanted.chosen, wanted.standings)
    assert spread == pytest.approx(wanted.spread_bps)


@given(st.lists(LIVE, min_size=1, max_size=20), st.lists(LIVE, max_size=20), st.randoms())
def test_no_minority_moves_it_by_more_than_the_honest_spread(honest: list[Vote], wild: list[Vote], rng: object) -> None:
    while sum(vote.weight for vote in wild) >= sum(vote.weight for vote in honest):
        wild = wild[1:]
    votes = [*honest, *wild]
    rng.shuffle(votes)  # type: ignore[attr-defined]
    alone, moved = find_consensus(honest, outlier_bps=100).chosen, find_consensus(votes, outlier_bps=100).chosen
    assert alone is not None
    assert moved is not None
    prices = [vote.price for vote in honest]
    assert min(prices) <= votes[moved].price <= max(prices)
    assert abs(votes[moved].price - honest[alone].price) <= max(prices) - min(prices)


def a_minority(honest: list[Vote], wild: list[Vote]) -> list[Vote]:
    """As many of the wild as have less weight than the honest."""
    room, few = sum(vote.weight for vote in honest) - 1, []
    for vote in wild:
        if vote.weight <= room:
            few.append(vote)
            room -= vote.weight
    return few


@given(
    st.lists(st.builds(Vote, st.floats(99.0, 101.0), st.integers(1, 5), st.just("live")), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from(["low", "high", "honest", "beside"]), st.integers(1, 5)), max_size=12),
    st.integers(0, 500),
    st.randoms(),
)
def test_no_minority_that_conspires_moves_it_either(
    honest: list[Vote], plot: list[tuple[str, int]], outlier_bps: int, rng: object
) -> None:
    prices = [vote.price for vote in honest]
    lies = {"low": 5e-324, "high": 1e308, "honest": max(prices), "beside": max(prices) * 1.02}
    votes = honest + a_minority(honest, [Vote(lies[how], weight, "live") for how, weight in plot])
    rng.shuffle(votes)  # type: ignore[attr-defined]
    for find in (find_consensus, compiled):
        chosen = find(votes, outlier_bps=outlier_bps)[0]
        assert chosen is not None
        assert min(prices) <= votes[chosen].price <= max(prices)


def test_half_of_the_weight_is_no_minority() -> None:
    votes = [Vote(1.0, 3, "live"), Vote(100.0, 1, "live"), Vote(100.1, 2, "live")]
    assert find_consensus(votes, outlier_bps=100).chosen == 0


@given(
    st.lists(st.tuples(st.integers(9_900, 10_100), st.integers(1, 5)), min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from([1, 9_000, 11_000, 10**12]), st.integers(1, 5)), max_size=8),
    st.integers(1, 6),
    st.randoms(),
)
def test_what_clients_are_told_keeps_the_promise_and_the_quorum(
    honest: list[tuple[int, int]], wild: list[tuple[int, int]], quorum: int, rng: object
) -> None:
    few = a_minority([Vote(0, weight, "live") for _, weight in honest], [Vote(*each, "live") for each in wild])
    sources = [*honest, *((int(vote.price), vote.weight) for vote in few)]
    rng.shuffle(sources)  # type: ignore[attr-defined]
    asked = Asked([f"x{number}" for number in range(len(sources))], quorum=quorum)
    rows = [(n, "BTC", f"x{n}", "USD", n, n, weight, None) for n, (_, weight) in enumerate(sources)]
    asked.engine.load_instruments([*rows, (127, "BTC", "consensus", "USD", 0, 0)])
    for number, (price, _) in enumerate(sources):
        asked.publish(number, b"%d" % price)
    asked.engine.sweep(NOW)
    answer = json.loads(asked.ask())
    if "error" in answer:
        assert answer["error"] == "unavailable"
        votes = [Vote(float(price), weight, "live") for price, weight in sources]
        assert find_consensus(votes, outlier_bps=100).standings.count("live") < quorum
        return
    assert len(answer["sources_used"]) >= quorum
    assert min(price for price, _ in honest) <= answer["price"] <= max(price for price, _ in honest)


@given(st.lists(LIVE, min_size=1, max_size=20), st.integers(0, 500))
def test_most_of_the_weight_stays_and_the_answer_with_it(votes: list[Vote], outlier_bps: int) -> None:
    found = find_consensus(votes, outlier_bps=outlier_bps)
    stays = sum(vote.weight for vote, standing in zip(votes, found.standings, strict=True) if standing == "live")
    assert 2 * stays > sum(vote.weight for vote in votes)
    assert found.chosen is not None
    assert found.standings[found.chosen] == "live"


def test_those_near_by_are_no_outliers_however_close_the_others_stand() -> None:
    votes = [Vote(price, 1, "live") for price in (100.0, 100.0, 100.0, 100.9)]
    assert find_consensus(votes, outlier_bps=100).standings == ["live"] * 4
    assert find_consensus(votes, outlier_bps=80).standings == ["live"] * 3 + ["outlier"]


class Asked:
    """An engine with sources a, b, ... of BTC, and its consensus."""

    def __init__(self, names: list[str], **rules: int) -> None:
        self.engine = Engine(node="n" * 64, max_keys=64, max_instruments=128)
        self.engine.set_price_rules(**rules)
        self.engine.put_key(sha256(b"k").digest(), 1, per_second=0, burst=1, partner=True)
        rows = [(n, "BTC", name, "USD", n, n) for n, name in enumerate(names)]
        self.engine.load_instruments([*rows, (127, "BTC", "consensus", "USD", 0, 0)])

    def publish(self, number: int, price: bytes, age_s: int = 0) -> None:
        self.engine.publish(number, price, 1_776_003_781 * S, NOW - age_s * S)

    def ask(self, now_ns: int = NOW) -> str:
        datagram = b'{"api_key":"k","asset":"BTC","exchange":"consensus","id":"' + b"i" * 64 + b'"}'
        (answer,) = self.engine.ask(datagram, now_ns=now_ns)
        assert len(answer) <= 1400
        return answer.decode()


def test_the_answer_says_who_it_rests_on() -> None:
    asked = Asked(["a", "b", "c", "d", "e"])
    for number, price in enumerate((b"100.0", b"100.1", b"250", b"100.2")):
        asked.publish(number, price)
    asked.engine.sweep(NOW)
    answer = asked.ask()
    assert '"price":100.1,"currency":"USD","exchange":"consensus","source":"consensus-median"' in answer
    assert '"sources_used":["a","b","d"],"sources_excluded":[{"exchange":"c","reason":"outlier"}' in answer
    assert '{"exchange":"e","reason":"stale"}],"spread_bps":20.0,"age_ms":     0,"state":"live"' in answer


def test_too_few_live_sources_are_refused_and_time_alone_takes_them_away() -> None:
    asked = Asked(["a", "b"])
    asked.engine.sweep(NOW)
    assert '"message":"the consensus needs 2 live sources that agree and has 0"' in asked.ask()
    asked.publish(0, b"100", age_s=12)
    asked.publish(1, b"101")
    asked.engine.sweep(NOW)
    assert '"price":100,' in asked.ask()
    asked.engine.sweep(NOW + 2 * S)
    answer = asked.ask(NOW + 2 * S)
    assert answer.startswith('{"error":"unavailable"')
    assert "needs 2 live sources that agree and has 1" in answer


def test_it_is_never_the_best_source_and_is_no_candidate_of_its_own() -> None:
    asked = Asked(["a", "b"])
    asked.publish(0, b"100", age_s=20)
    asked.engine.sweep(NOW)
    (answer,) = asked.engine.ask(b'{"api_key":"k","asset":"BTC","allow_stale":true}', now_ns=NOW)
    assert b'"exchange":"a"' in answer


def test_what_is_loaded_anew_has_its_consensus_at_once() -> None:
    asked = Asked(["a", "b"])
    asked.publish(0, b"100")
    asked.publish(1, b"101")
    asked.engine.sweep(NOW)
    rows = [(5, "BTC", "b", "USD", 1, 1), (6, "BTC", "a", "USD", 2, 1), (3, "BTC", "c", "USD", 3, 1)]
    asked.engine.load_instruments([*rows, (0, "BTC", "consensus", "USD", 0, 0)])
    answer = asked.ask()
    assert '"sources_used":["b","a"],"sources_excluded":[{"exchange":"c","reason":"stale"}]' in answer


def test_a_source_without_weight_is_none() -> None:
    asked = Asked(["a", "b"])
    rows = [(0, "BTC", "a", "USD", 1, 1, 1, None), (1, "BTC", "b", "USD", 2, 1, 0, None)]
    asked.engine.load_instruments([*rows, (2, "BTC", "consensus", "USD", 0, 0)])
    asked.publish(0, b"100")
    asked.publish(1, b"100")
    asked.engine.sweep(NOW)
    assert "needs 2 live sources that agree and has 1" in asked.ask()


@pytest.mark.parametrize("used", [0, 2, 30, 64])
def test_sixty_four_exchanges_with_long_names_fit_one_datagram(used: int) -> None:
    names = [f"exchange-number{n:02}"[-16:] for n in range(64)]
    asked = Asked(names, quorum=1)
    for number in range(64):
        asked.publish(number, b"1" * 40, age_s=0 if number < used else 20)
    asked.engine.sweep(NOW)
    answer = asked.ask()
    standings: list[tuple[str, Standing]] = [(name, "live" if n < used else "stale") for n, name in enumerate(names)]
    assert (tail(standings, 0.0) in answer) == (used > 0)
    assert len(tail(standings, 0.0)) <= TAIL_MAX
    asked.engine.put_key(sha256(b"q").digest(), 2, per_second=0, burst=1, partner=True)
    datagram = b'{"api_key":"q","assets":["BTC","ETH"],"exchange":"consensus","id":"' + b"i" * 64 + b'"}'
    assert all(len(part) <= 1400 for part in asked.engine.ask(datagram, now_ns=NOW))
