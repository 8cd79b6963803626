"""The exchange admin's commands on a real database."""

import json
from pathlib import Path
from typing import Any

import pytest

from beast.__main__ import run

pytestmark = [pytest.mark.integration]


@pytest.fixture
def beast(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command on a fresh database; gives (exit code, stdout, stderr)."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_assets_are_listed_saved_and_switched(beast: Any, tmp_path: Path) -> None:
    code, out, _ = beast("feeds", "assets", "kraken", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, {row["exchange"] for row in rows}) == (0, {"kraken"})
    file = tmp_path / "rows.json"
    added = {"exchange": "kraken", "asset": "NEW", "symbol": "NEW/USD", "currency": "USD"}
    file.write_text(json.dumps([*rows, added]))
    assert beast("feeds", "save-assets", str(file)) == (0, f"1 added, {len(rows)} changed\n", "")
    said = beast("feeds", "toggle-asset", "kraken", "new", "--no-prewarm")
    assert said == (0, "NEW at kraken is on and not prewarmed\n", "")
    assert beast("feeds", "toggle-asset", "kraken", "NEW")[1] == "NEW at kraken is off and not prewarmed\n"
    assert "NEW/USD" in beast("feeds", "assets")[1]


def test_what_can_not_be_meant_is_one_line(beast: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('[{"asset":"x","symbol":"X/USD","currency":"USD"}]')
    code, out, err = beast("feeds", "save-assets", str(file), "--exchange", "kraken")
    assert (code, out) == (1, "")
    assert err.startswith("beast: 1 of 1 rows can't be stored, so none is; row 0, asset: 'x' does not match")
    file.write_text("{}")
    assert "is no JSON array of rows" in beast("feeds", "save-assets", str(file))[2]
    code, _, err = beast("feeds", "toggle-asset", "kraken", "NOPE")
    assert (code, err.count("\n")) == (1, 1)
    assert "there is no NOPE at 'kraken'" in err


def test_sync_tells_what_it_wrote(beast: Any) -> None:
    code, out, _ = beast("eam", "sync", "--json")
    assert code == 0
    assert json.loads(out)["parameters"].keys() >= {"exchange_assets_kraken", "exchange_assets_master"}


def test_an_audit_needs_a_server(beast: Any) -> None:
    code, out, err = beast("eam", "audit", "--server", "127.0.0.1:9", "--admin-key", "k")
    assert (code, out) == (1, "")
    assert "is the server running?" in err
