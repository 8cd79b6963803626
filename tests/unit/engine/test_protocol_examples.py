"""The examples of docs/protocol.md are what Beast does, byte for byte; their padding is left out there."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from beast._fast import Engine

PAGE = Path(__file__).parents[3] / "docs/protocol.md"
SECOND = 1_000_000_000
NOW = 1_000 * SECOND
TRADED = 1_776_003_781_123_456_000
"""2026-04-12T14:23:01.123456Z"""
BLOCKS = re.findall(r"^```json\n(.*?)\n```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
PAIRS = list(zip(BLOCKS[::2], BLOCKS[1::2], strict=True))


def test_the_page_has_examples() -> None:
    assert len(PAIRS) >= 3
    assert all(request.startswith('{"api_key"') for request, _ in PAIRS)


@pytest.mark.parametrize(("request_text", "answer"), PAIRS)
def test_an_example_is_true(request_text: str, answer: str) -> None:
    engine = Engine(node="BeastMain", max_keys=64, max_instruments=64)
    engine.load_instruments(
        [(0, "BTC", "coinbase", "USD", 1, 0), (9, "SOL", "consensus", "USD", 0, 0)]
        + [(n, "SOL", exchange, "USD", n, 0) for n, exchange in enumerate(("coinbase", "kraken", "okx"), 1)]
    )
    engine.publish(0, b"83421.57", TRADED, NOW - 4_000_000)
    for number, price in enumerate((b"150", b"150.02", b"900"), 1):
        engine.publish(number, price, TRADED, NOW - 4_000_000)
    engine.sweep(NOW)
    engine.put_key(sha256(b"tb_partner").digest(), 1, per_second=0, burst=1, partner=True)
    engine.put_key(sha256(b"tb_slow").digest(), 2, per_second=5, burst=1)
    engine.ask(b'{"api_key":"tb_slow","asset":"BTC"}', now_ns=NOW - 80_000_000)  # its one request of 200 ms
    answers = [each.rstrip(b" ").decode() for each in engine.ask(request_text.encode(), now_ns=NOW)]
    assert answers == [answer]
