"""What needs no queue: which region an address names, what fits into a call, which failures are final."""

import asyncio

import pytest
from tests.fixtures.usage import make_batch

from beast.usage.sqs import Failure, QueueError, SqsQueue, split_region
from beast.usage.sqs_sink import Letter, letters_of, packed


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/1/q", "eu-west-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://sqs.us-east-1.api.aws/1/q", "us-east-1"),
        ("https://vpce-1-2.sqs.us-east-1.vpce.amazonaws.com/1/q", "us-east-1"),
        ("http://127.0.0.1:4566/000000000000/q", None),
        ("https://sqs.eu-west-1.amazonaws.com.example/1/q", None),
    ],
)
def test_the_region_is_the_one_of_the_address(url: str, region: str | None) -> None:
    assert split_region(url) == region


@pytest.mark.parametrize(
    ("code", "sender_fault", "final"),
    [
        ("InvalidMessageContents", True, True),
        ("InvalidParameterValue", True, True),
        ("InternalError", False, False),
        ("InvalidMessageContents", False, False),
        ("RequestThrottled", True, False),
        ("KmsAccessDenied", True, False),
        ("AWS.SimpleQueueService.NonExistentQueue", True, False),
        ("AccessDenied", True, False),
    ],
)
def test_only_what_is_wrong_with_the_message_itself_is_final(code: str, *, sender_fault: bool, final: bool) -> None:
    assert Failure(code, "", sender_fault=sender_fault).final is final


def letter(size: int) -> Letter:
    batch = make_batch(1)
    return Letter(batch, batch.identity, b"x" * size)


def test_a_call_holds_what_fits_into_it_and_at_least_one() -> None:
    sizes = [400, 500, 200, 1_500, 100, *[10] * 12]
    calls = [[len(each.body) for each in call] for call in packed([*map(letter, sizes)], entries=10, size=1_000)]
    assert calls == [[400, 500], [200], [1_500], [100, *[10] * 9], [10] * 3]
    assert list(packed([], entries=10, size=1)) == []


def test_a_batch_that_fits_is_one_message() -> None:
    batch = make_batch(50)
    [only] = letters_of(batch, 1 << 18)
    assert (only.batch, only.whole) == (batch, batch.identity)


def test_without_a_region_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(QueueError, match="set AWS_REGION"):
        asyncio.run(SqsQueue("http://127.0.0.1:1/0/q").read_limit())
