"""How the words of `beast report` become what the server is asked."""

import pytest

from beast.cli.report import ALL, Meant, app


@pytest.mark.parametrize("command", [[], ["records"]])
def test_the_words_are_the_server_s_parameters(command: list[str]) -> None:
    words = [
        "--from",
        "2026-11-01",
        "--to",
        "2026-11-02",
        "--asset",
        "BTC,ETH",
        "--status",
        "stale",
        "--tier",
        "2",
        "--key-id",
        "17",
    ]
    _, bound, _ = app.parse_args([*command, *words])
    meant: Meant = bound.arguments["meant"]
    assert {name: value for name, value in meant.wanted().items() if value is not None} == {
        "from": "2026-11-01",
        "to": "2026-11-02",
        "asset": "BTC,ETH",
        "state": "stale",
        "tier": "2",
        "key": "17",
    }


def test_without_words_all_is_meant() -> None:
    assert set(ALL.wanted().values()) == {None}
