"""The compiled engine and its readable twin give the same bytes for the same requests.

Requests are drawn from a seed, for speed: tens of thousands in a second's test, millions when asked
(BEAST_TWIN_WORLDS=20000). A failure names the seed and the datagram.
"""

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest

from beast._fast import Engine, restrict_key, set_limit_terms
from beast.engine.reference import CONSENSUS, SECOND, Instrument, Key, Link, Price, Rate, Reference
from beast.prices.consensus import Vote, find_consensus, refusal, tail

NOW = 1_000 * SECOND
WALL = 1_775_000_000 * SECOND
TTL = 13 * SECOND
QUORUM = 2
ASSETS = ["BTC", "ETH", "SOL", "1INCH", "A" * 20]
EXCHANGES = ["coinbase", "kraken", "okx", "e" * 16]
KEYS = {
    f"tb_{kind}": kind for kind in ("partner", "slow", "empty", "last", "report", "home", "away", "leased", "behind")
}


@dataclass(frozen=True)
class World:
    """Everything that decides an answer besides the request."""

    instruments: list[Instrument]
    links: dict[int, tuple[list[int], int, bool]]  # how long ago each connection was opened, doubts of the last, up
    prices: dict[int, Price] = field(default_factory=dict)
    linkless: int = 0


AGES = [0, 1, 999_999, 1_000_000, TTL - 1, TTL, TTL + 1, 100 * SECOND, 999 * SECOND]


def a_price(rng: random.Random) -> Price:
    received = NOW - rng.choice(AGES)
    whole = str(rng.randrange(10 ** rng.randint(1, 13)))
    digits = whole + (f".{rng.randrange(10**12)}" if rng.random() < 0.7 else "")
    return Price(
        text=digits.encode(),
        time_ns=rng.randrange(2**62) if rng.random() < 0.5 else WALL - rng.choice(AGES) // 1000 * 1000,
        received_ns=received,
        fresh_ns=received - rng.choice([0, 0, 0, 20 * SECOND]),
        epoch=rng.choice([0, 1, 1, 2, 3]),
        tier=rng.choice([1, 1, 1, 2, 3]),
    )


def a_world(rng: random.Random) -> World:
    pairs = {(rng.choice(ASSETS), rng.choice(EXCHANGES)) for _ in range(rng.randrange(14))}
    instruments = [
        Instrument(number, asset, exchange, rng.choice(["USD", "USDT"]), rng.randint(0, 3), EXCHANGES.index(exchange))
        for number, (asset, exchange) in enumerate(sorted(pairs))
    ]
    links = {
        n: (sorted(rng.choices(AGES, k=rng.randint(1, 3)), reverse=True), rng.choice([0, 0, 1]), rng.random() < 0.7)
        for n in range(len(EXCHANGES))
    }
    prices = {i.number: a_price(rng) for i in instruments if rng.random() < 0.7}
    wanted = sorted({instrument.asset for instrument in instruments if rng.random() < 0.7})
    instruments += [
        Instrument(number, asset, CONSENSUS, rng.choice(["USD", "USDT"]), 0, 0)
        for number, asset in enumerate(wanted, len(instruments))
    ]
    return World(instruments, links, prices, rng.choice([0, 0, SECOND, 1_000 * SECOND]))


def agree(reference: Reference, consensus: Instrument) -> None:
    """Computes a consensus from what the reference holds at NOW."""
    sources = sorted(
        (
            each
            for each in reference.instruments
            if (each.asset, each.currency) == (consensus.asset, consensus.currency) and each.exchange != CONSENSUS
        ),
        key=lambda each: (each.priority, each.exchange),
    )
    votes = [
        Vote(float(price.text), 1, reference.state(each, price, NOW))  # type: ignore[arg-type]
        if (price := reference.prices.get(each.number))
        else Vote(0, 1, "stale")
        for each in sources
    ]
    found = find_consensus(votes, outlier_bps=100)
    used = found.standings.count("live")
    if found.chosen is None or used < QUORUM:
        reference.refusals[consensus.number] = refusal(quorum=QUORUM, used=used)
        return
    chosen = reference.prices[sources[found.chosen].number]
    names = [(each.exchange, standing) for each, standing in zip(sources, found.standings, strict=True)]
    reference.prices[consensus.number] = replace(
        chosen, fresh_ns=chosen.fresh_ns + SECOND // 2, epoch=0, tier=1, tail=tail(names, found.spread_bps).encode()
    )


def reference_of(world: World) -> Reference:
    reference = Reference(
        node="BeastMain", ttl_ns=TTL, linkless_ns=world.linkless, source_per_second=0, instruments=world.instruments
    )
    reference.prices = dict(world.prices)
    for number, (opened, doubts, up) in world.links.items():
        reference.links[number] = Link(
            up=up,
            epoch=len(opened) + doubts,
            first=len(opened),
            before=len(opened) - 1,
            proven_ns=NOW - opened[-1],
            lost_ns=NOW - opened[-2] if len(opened) > 1 else 0,
            patience_ns=30 * SECOND,
        )
    for instrument in world.instruments:
        if instrument.exchange == CONSENSUS:
            agree(reference, instrument)
    limits = {
        "partner": Key(Rate(1, 1), partner=True, allowance=0),
        "slow": Key(Rate(3, 2)),
        "empty": Key(Rate(0, 1), allowance=0),
        "last": Key(Rate(0, 1), allowance=1),
        "report": Key(Rate(0, 1), priced=False),
        "home": Key(Rate(3, 2), networks=("127.0.0.0/8", "::1/128")),
        "away": Key(Rate(3, 2), networks=("127.0.0.2/32", "2001:db8::/32"), partner=True, priced=False),
        "leased": Key(Rate(3, 4), lease=2),
        "behind": Key(Rate(1, 1), lease=3),
    }
    reference.keys = {sha256(text.encode()).digest(): limits[kind] for text, kind in KEYS.items()}
    return reference


def engine_of(world: World) -> Engine:
    engine = Engine(
        node="BeastMain", ttl_ms=TTL // 1_000_000, source_per_second=0, max_keys=64, max_instruments=64,
        usage_ring=64, miss_ring=8,
    )  # fmt: skip
    engine.load_instruments(
        [(i.number, i.asset, i.exchange, i.currency, i.priority, i.link) for i in world.instruments]
    )
    for number, price in world.prices.items():
        engine.publish(
            number, price.text, price.time_ns, price.received_ns,
            fresh_ns=price.fresh_ns, epoch=price.epoch, tier=price.tier,
        )  # fmt: skip
    engine.set_live_without_link_ms(world.linkless // 1_000_000)
    for number, (opened, doubts, up) in world.links.items():
        for epoch, ago in enumerate(opened, 1):
            assert engine.link_up(number, 30 * SECOND, NOW - ago) == epoch
        for _ in range(doubts):
            engine.link_doubt(number)
        if not up:
            engine.link_down(number)
    engine.sweep(NOW)
    set_limit_terms(engine, leasing=True)
    for text, key in reference_of(world).keys.items():
        engine.put_key(
            text, 7, per_second=key.rate.per_second, burst=key.rate.burst, partner=key.partner,
            allowance=key.allowance, priced=key.priced, restricted=key.networks is not None, lease=key.lease or 0,
        )  # fmt: skip
        restrict_key(engine, text, key.networks or ())
    return engine


def anything(rng: random.Random, depth: int = 0) -> object:
    """Any JSON value."""
    kinds: list[Callable[[], object]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.randint(-(2**70), 2**70),
        lambda: rng.choice([0, 1, -1, 0.5, 1e400, 1e-9]),
        lambda: "".join(chr(rng.choice([34, 92, 10, 65, 228, 0x1F600, 0xD800, 47])) for _ in range(rng.randrange(6))),
        lambda: "x" * rng.randrange(80),
        lambda: [anything(rng, depth + 1) for _ in range(rng.randrange(4))],
        lambda: {str(n): anything(rng, depth + 1) for n in range(rng.randrange(3))},
    ]
    return rng.choice(kinds[:6] if depth > 8 else kinds)()


def escaped(text: str, rng: random.Random) -> str:
    """The same JSON string, at times with some of its characters written as escapes."""
    if rng.random() < 0.8:
        return json.dumps(text, ensure_ascii=rng.random() < 0.5)
    plain = json.dumps(text)[1:-1]
    if plain != text:
        return f'"{plain}"'
    return '"' + "".join(f"\\u{ord(c):04x}" if rng.random() < 0.5 else c for c in text) + '"'


ASKED = [*ASSETS, "btc", "Eth", "XYZ", "A" * 21, "\u00e4", "a" * 40]
USUAL: dict[str, list[object]] = {
    "api_key": [*KEYS, "tb_partner", "tb_partner", "tb_partner", "tb_nobody"],
    "asset": [*ASKED, *ASKED, *ASKED, ""],
    "exchange": [*EXCHANGES, "Consensus", "consensus", "KRAKEN", "nowhere", ""],
    "id": [7, "a1", "x" * 64, "x" * 65, 10**63, 10**64, -1],
    "max_age_ms": [0, 1, 500, 13_000, 2**53 - 1, 2**53, -1],
    "allow_stale": [True, False],
    "unknown": [[[[[[[[1]]]]]]], [[[[[[[[1]]]]]]]], "\ud800", {"a": 1e400}],
}


def a_value(name: str, rng: random.Random) -> object:
    if rng.random() < 0.03:
        return anything(rng)
    if name == "assets":
        return [
            rng.choice(ASKED) if rng.random() < 0.99 else anything(rng) for _ in range(rng.choice([0, 1, 3, 8, 31]))
        ]
    return rng.choice(USUAL[name])


def a_request(rng: random.Random) -> bytes:
    names = ["api_key"] if rng.random() < 0.95 else []
    names.append("asset" if rng.random() < 0.7 else "assets")
    names += [name for name in ("exchange", "id", "max_age_ms", "allow_stale", "unknown") if rng.random() < 0.25]
    names += [name for name in ("asset", "assets", "api_key", "id") if rng.random() < 0.03]
    rng.shuffle(names)
    gap = rng.choice(["", "", " ", "\r\n\t"])
    members = []
    for name in names:
        value = a_value(name, rng)
        text = escaped(value, rng) if isinstance(value, str) else json.dumps(value, ensure_ascii=rng.random() < 0.5)
        members.append(f"{escaped(name, rng)}{gap}:{gap}{text}")
    joined = f"{gap},".join(members)
    return f"{gap}{{{gap}{joined}{gap}}}{gap}".encode("utf-8", "surrogatepass")


def damaged(rng: random.Random) -> bytes:
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(80))
    data = bytearray(a_request(rng))
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(data))
        match rng.randrange(4):
            case 0:
                data[at:at] = rng.randbytes(rng.randint(1, 3))
            case 1:
                del data[at : at + rng.randint(1, 4)]
            case 2:
                data[at : at + 1] = rng.choice(
                    [b'"', b"\\", b"{", b"}", b",", b":", b"\x00", b"\xff", b"0", b"-", b"e"]
                )
            case _:
                data = data[:at]
    return bytes(data)


def assert_same(engine: Engine, reference: Reference, datagram: bytes, now_ns: int, seed: int = 0) -> None:
    expected = reference.ask(datagram, now_ns=now_ns)
    assert engine.ask(datagram, now_ns=now_ns, wall_ns=WALL) == expected, (seed, datagram)


WORLDS = int(os.environ.get("BEAST_TWIN_WORLDS", "150"))
REQUESTS_A_WORLD = 60


@pytest.mark.parametrize("draw", [a_request, damaged])
def test_same_bytes(draw: Callable[[random.Random], bytes]) -> None:
    for seed in range(WORLDS):
        rng = random.Random(seed)
        world = a_world(rng)
        engine, reference = engine_of(world), reference_of(world)
        for step in range(REQUESTS_A_WORLD):
            assert_same(engine, reference, draw(rng), NOW + step * rng.choice([0, 1_000_000, 100_000_000]), seed)
        engine.drain_usage()


def test_an_unproven_request_gets_no_longer_answer() -> None:
    rng = random.Random(7)
    engine, reference = Engine(node="n", source_per_second=0), Reference(node="n", source_per_second=0)
    for _ in range(4000):
        datagram = rng.choice([a_request, damaged])(rng)
        answers = engine.ask(datagram, now_ns=NOW, wall_ns=WALL)
        assert answers == reference.ask(datagram, now_ns=NOW), datagram
        assert sum(map(len, answers)) <= len(datagram), datagram


@pytest.mark.parametrize("length", [0, 1, 1231, 1232, 1233, 2000])
def test_size_limit(length: int) -> None:
    engine, reference = engine_of(World([], {})), reference_of(World([], {}))
    head = b'{"api_key":"tb_partner","asset":"BTC"'
    datagram = (head + b" " * max(0, length - len(head) - 1) + b"}")[:length] if length > len(head) else head[:length]
    assert len(datagram) == length
    assert_same(engine, reference, datagram, NOW)


def test_all_sources_together_are_limited_alike() -> None:
    engine, reference = Engine(node="n", max_keys=64, max_instruments=64), Reference(node="n")
    datagram = b'{"api_key":"nobody","asset":"BTC","pad":"' + b"x" * 100 + b'"}'
    told = 0
    for step in range(2500):
        now, host = NOW + step // 1250 * 25_000_000, f"{10 + step // 1024}.{step % 256}.{step // 256 % 4 * 64}.1"
        answers = engine.ask(datagram, now_ns=now, source=(host, 9))
        assert answers == reference.ask(datagram, now_ns=now, source=(host, 9)), (step, host)
        told += len(answers)
    assert told == 1000 + 50
    assert engine.counters()["source_limited"] == 2500 - told


def test_sources_are_limited_alike() -> None:
    engine = Engine(node="n", source_per_second=5, max_keys=64, max_instruments=64)
    reference = Reference(node="n", source_per_second=5)
    datagram = b'{"api_key":"nobody","asset":"BTC","pad":"' + b"x" * 100 + b'"}'
    for step in range(60):
        now = NOW + step * 37_000_000
        for host in ("10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "2001:db8::1"):
            answers = engine.ask(datagram, now_ns=now, source=(host, 9))
            assert bool(answers) == bool(reference.ask(datagram, now_ns=now, source=(host, 9))), (step, host)
