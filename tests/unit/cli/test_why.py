"""What beast why shows, on a narrow terminal and on a wide one."""

import io
from typing import Any

import pytest
from rich.console import Console

from beast.cli.why import _show

WHY = "its link is down, so nobody vouches for the price that came before"


def source(exchange: str, **members: Any) -> dict[str, Any]:
    told = {
        "answers": False,
        "exchange": exchange,
        "symbol": "BTC-USD",
        "priority": 10,
        "price": "83421.57",
        "currency": "USD",
        "age_ms": 1234,
        "state": "live",
        "link_up": True,
        "link_proven_age_ms": 120,
        "consensus": "used",
        "version": 3,
        "version_at": "2026-11-26T17:00:00Z",
        "row_updated_at": None,
        "why": "",
        "feed_why": "",
        "waiting": 0,
    }
    return told | members


@pytest.mark.parametrize("width", [80, 150, 200])
def test_every_reason_can_be_read_whole(width: int) -> None:
    told = {
        "asset": "BTC",
        "answer": {"price": "83421.57", "currency": "USD", "exchange": "coinbase", "state": "live"},
        "tier": 1,
        "why": "in memory",
        "consensus": None,
        "rows_from": "database",
        "sources": [source("coinbase", answers=True), source("cryptocom", why=WHY, waiting=2, state="stale")],
    }
    out = io.StringIO()
    _show(Console(file=out, width=width, highlight=False), told)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(out.getvalue().split())
    if width == 80:
        assert f"cryptocom: {WHY}; 2 prices wait to be confirmed; rows of v3 2026-11-26T17:00:00" in words
        assert "coinbase: rows of v3" in words
        assert len(lines) <= 9
    else:
        assert "row of" in lines[1]
        assert all(word in words for word in WHY.split())
