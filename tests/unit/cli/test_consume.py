"""beast consume, before it has anything to consume."""

from pathlib import Path

import pytest

from beast.base.errors import EXIT_USAGE
from beast.cli.main import run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no queue is named"),
        (["--folder", "x", "--queue-url", "https://sqs.eu-west-1.amazonaws.com/1/q"], "can't go through both"),
        (["--queue-url", "https://sqs.eu-west-1.amazonaws.com/1/q.fifo"], "a standard queue"),
        (["--queue-url", "usage"], "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"),
    ],
)
def test_a_queue_that_is_missing_or_can_not_be_is_told(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BEAST_HOME", str(tmp_path))
    for name in ("BEAST_USAGE_QUEUE", "BEAST_USAGE_QUEUE_URL", "BEAST_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert run(["consume", *arguments]) == EXIT_USAGE
    assert told in capsys.readouterr().err
