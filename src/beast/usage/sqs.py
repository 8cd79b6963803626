"""One queue of Amazon SQS, and its limits. The only importer of AWS's client in this room.

The client's calls block, so each of them runs on a thread. None of them is repeated here: whoever asked has the batch
still in a spool, or the message still in the queue, and knows when to try again. A call whose answer did not come may
have been done all the same.
"""

import asyncio
import importlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from beast.base.errors import BeastError
from beast.usage.sink import Depth, Message

ENTRIES = 10
"""Messages that one call sends, receives or deletes at most: SQS Developer Guide, "Message quotas"."""
MESSAGE_BYTES = 1 << 20
"""The longest message, and all messages of one call together, since August 2025: ibidem."""
OLDER_MESSAGE_BYTES = 1 << 18
"""The same before. A queue made then still has it as its MaximumMessageSize, and it is that attribute that holds."""
CALLS_AT_ONCE = 4
TIMEOUT_S = 3.0

_HOST = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)$")
_CREDENTIALS = re.compile(r"Token|Credential|Signature|UnrecognizedClient|RequestExpired")
"""In an error's code, or in the name of the client's own exception: what it signs with is to be read anew."""
_NOT_THE_MESSAGE = re.compile(r"Throttl|OverLimit|Denied|Security|KMS|Kms|Queue|Internal|Unavailable|Expired|Token")
"""In an entry's code: the sender may be at fault, but this message is not, and will be taken when that is mended."""

_TODO = {
    "NoRegionError": "set AWS_REGION",
    "NoCredentialsError": "give the task a role, or set AWS_PROFILE or keys",
    "AWS.SimpleQueueService.NonExistentQueue": "check usage_queue_url",
}

_T = TypeVar("_T")


class QueueError(BeastError):
    """The queue did not do it, or nobody knows whether it has."""

    def __init__(self, what: str, *, code: str, where: str) -> None:
        super().__init__(what, where=where, todo=_TODO.get(code, ""))
        self.code = code
        """SQS's own name of it, or the class of the client's exception."""


class Failure(msgspec.Struct, frozen=True):
    """Why one entry of a call was not done."""

    code: str
    message: str
    sender_fault: bool

    @property
    def final(self) -> bool:
        """Whether this message will never be taken."""
        return self.sender_fault and not _NOT_THE_MESSAGE.search(self.code)


class SqsQueue:
    """The calls of one queue; at most CALLS_AT_ONCE at a time from either end.

    Args:
        url: Its address. Without AWS_ENDPOINT_URL_SQS or AWS_ENDPOINT_URL it is asked at the address's own host.
        timeout_s: How long a call may take to connect and to send, and again until its answer.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self.limit = OLDER_MESSAGE_BYTES
        """The longest message that it takes, in bytes; until it has told, what every queue takes."""
        self.calls = 0
        self._timeout_s = timeout_s
        self._clients: dict[float, Any] = {}
        self._lock = threading.Lock()

    def tune(self, timeout_s: float) -> None:
        """Takes how long a call may take, from the next one on."""
        self._timeout_s = timeout_s

    async def read_limit(self) -> None:
        """Asks for the longest message.

        Raises:
            QueueError: It could not be asked.
        """
        told = await self._attributes("MaximumMessageSize")
        self.limit = min(int(told.get("MaximumMessageSize", OLDER_MESSAGE_BYTES)), MESSAGE_BYTES)

    async def depth(self) -> Depth:
        """How much is in it, if it can be asked."""
        waiting, flying = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        try:
            told = await self._attributes(waiting, flying)
        except QueueError as error:
            return Depth(queue=self.url, error=str(error))
        return Depth(queue=self.url, messages=int(told.get(waiting, 0)), in_flight=int(told.get(flying, 0)))

    async def send(self, bodies: Sequence[str]) -> list[Failure | None]:
        """Sends ENTRIES messages at most; what became of each of them.

        Raises:
            QueueError: None was taken, or it is not known which.
        """
        entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies)]
        return _by_entry(await self._call("send_message_batch", Entries=entries), len(bodies))

    async def receive(self, *, wait_s: int, hidden_s: int) -> list[Message]:
        """Receives ENTRIES messages at most, hidden from others for `hidden_s`; waits `wait_s` for the first.

        Raises:
            QueueError: It could not be asked; messages may be hidden all the same.
        """
        answer = await self._call(
            "receive_message",
            longer_s=wait_s,
            MaxNumberOfMessages=ENTRIES,
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=hidden_s,
        )
        return [
            Message(each["Body"].encode("utf-8", "surrogatepass"), each["ReceiptHandle"])
            for each in answer.get("Messages", ())
        ]

    async def delete(self, receipts: Sequence[str]) -> list[Failure | None]:
        """Deletes ENTRIES messages at most; what became of each of them. Raises QueueError."""
        entries = [{"Id": str(at), "ReceiptHandle": receipt} for at, receipt in enumerate(receipts)]
        return _by_entry(await self._call("delete_message_batch", Entries=entries), len(receipts))

    async def hide(self, receipts: Sequence[str], seconds: int) -> list[Failure | None]:
        """Hides ENTRIES messages at most for so long from now; 0: no longer. Raises QueueError."""
        entries = [
            {"Id": str(at), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
            for at, receipt in enumerate(receipts)
        ]
        return _by_entry(await self._call("change_message_visibility_batch", Entries=entries), len(receipts))

    async def _attributes(self, *names: str) -> dict[str, str]:
        answer = await self._call("get_queue_attributes", AttributeNames=list(names))
        attributes: dict[str, str] = answer.get("Attributes", {})
        return attributes

    async def _call(self, action: str, *, longer_s: float = 0, **parameters: Any) -> dict[str, Any]:
        return await _on_thread(partial(self._ask, action, self._timeout_s + longer_s, parameters))

    # Below runs on threads.

    def _ask(self, action: str, timeout_s: float, parameters: dict[str, Any]) -> dict[str, Any]:
        exceptions = importlib.import_module("botocore.exceptions")
        parsers = importlib.import_module("botocore.parsers")
        try:
            client = self._client(timeout_s)
            answer: dict[str, Any] = getattr(client, action)(QueueUrl=self.url, **parameters)
        except exceptions.ClientError as error:
            told = error.response.get("Error", {})
            code, reason = str(told.get("Code", "")), str(told.get("Message", ""))
        except (exceptions.BotoCoreError, exceptions.HTTPClientError, parsers.ResponseParserError) as error:
            code, reason = type(error).__name__, str(error)
        else:
            return answer
        if _CREDENTIALS.search(code):
            # The client renews what it got from a role by itself; what stands in a file or was set is read only once.
            with self._lock:
                self._clients.clear()
        raise QueueError(f"{code}: {reason}", code=code, where=self.url)

    def _client(self, timeout_s: float) -> Any:
        """The client for calls that may take so long: it can't be told call by call."""
        with self._lock:
            self.calls += 1
            if timeout_s not in self._clients:
                self._clients[timeout_s] = _make_client(self.url, timeout_s)
            return self._clients[timeout_s]


def split_region(url: str) -> str | None:
    """The region in the host of a queue's address; None when it names none, as an emulator's."""
    found = _HOST.search(urlsplit(url).hostname or "")
    return found[1] if found else None


def _make_client(url: str, timeout_s: float) -> Any:
    # Loaded here and not above: it costs 150 ms that only its users should pay.
    boto3, config = importlib.import_module("boto3"), importlib.import_module("botocore.config")
    parts = urlsplit(url)
    elsewhere = os.environ.get("AWS_ENDPOINT_URL_SQS") or os.environ.get("AWS_ENDPOINT_URL")
    return boto3.session.Session().client(
        "sqs",
        region_name=split_region(url) or os.environ.get("AWS_REGION"),
        endpoint_url=None if elsewhere else f"{parts.scheme}://{parts.netloc}",
        config=config.Config(
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            retries={"total_max_attempts": 1},
            max_pool_connections=CALLS_AT_ONCE,
            tcp_keepalive=True,
        ),
    )


def _by_entry(answer: dict[str, Any], count: int) -> list[Failure | None]:
    """What an answer says of each entry; one that it does not mention was not done."""
    fates: list[Failure | None] = [Failure("NoAnswer", "the answer does not mention it", sender_fault=False)] * count
    for each in answer.get("Successful", ()):
        fates[int(each["Id"])] = None
    for each in answer.get("Failed", ()):
        fates[int(each["Id"])] = Failure(
            str(each.get("Code", "")), str(each.get("Message", "")), sender_fault=bool(each.get("SenderFault"))
        )
    return fates


async def _on_thread(work: Callable[[], _T]) -> _T:
    """What `work` returns or raises. Its thread is not waited for when the process ends: a call may hang."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: Callable[[], None]) -> None:
        if not done.done():
            result()

    def run() -> None:
        try:
            result = partial(done.set_result, work())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where it is waited for
            result = partial(done.set_exception, error)
        # The loop is closed when nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="sqs", daemon=True).start()
    return await done
