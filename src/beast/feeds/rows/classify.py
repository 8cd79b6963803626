"""Frames without trades: acks, errors, heartbeats, notices, pongs; told apart by the row's filters."""

from typing import Any, Literal, NamedTuple

from beast.feeds.rows.paths import Path, parse_path
from beast.feeds.rows.twin import MalformedError, Object, decode, holds, look_up
from beast.feeds.types import Condition, Feed

Kind = Literal["ack", "error", "heartbeat", "notice", "pong", "ignored"]


class Answer(NamedTuple):
    """What a frame without trades says."""

    kind: Kind
    symbols: tuple[str, ...] = ()
    """The symbols (or streams) it names."""
    channel: str = ""
    """The number that an accepted symbol's trades will carry."""
    reply_id: str = ""
    """The id of the message that it answers."""
    text: str = ""
    """The exchange's own words; why it was ignored."""


class Classifier:
    """Tells the frames of one exchange apart; a pure function of the row, asked frame by frame.

    A frame that several filters fit is, in this order, an error, a notice, a pong, a heartbeat, an ack.
    """

    def __init__(self, feed: Feed) -> None:
        self._filters: tuple[tuple[Kind, tuple[Condition, ...]], ...] = (
            ("error", feed.error_filter),
            ("notice", feed.notice_filter),
            ("pong", feed.pong_filter),
            ("heartbeat", feed.heartbeat_filter),
            ("ack", feed.ack_filter),
        )
        self._symbols = {"ack": _path(feed.ack_symbol_path), "error": _path(feed.error_symbol_path)}
        self._channel = _path(feed.channel_path)
        self._message = _path(feed.error_message_path)
        self._reply_id = _path(feed.reply_id_path)

    def __call__(self, frame: bytes) -> Answer:
        """What the frame says."""
        text = frame.decode(errors="replace").strip()
        try:
            root, fault = decode(frame), ""
        except MalformedError as error:
            root, fault = None, f"not JSON: {error}"
        for kind, conditions in self._filters:
            if conditions and all(_holds(condition, root, text) for condition in conditions):
                return self._answer(kind, root)
        return Answer("ignored", text=fault or "no filter of the row knows this frame")

    def _answer(self, kind: Kind, root: Any) -> Answer:
        said = _at(root, self._message) if kind == "error" else None
        return Answer(
            kind,
            symbols=_texts(_at(root, self._symbols.get(kind))),
            channel=next(iter(_texts(_at(root, self._channel))), "") if kind == "ack" else "",
            reply_id=next(iter(_texts(_at(root, self._reply_id))), ""),
            text=" ".join(_texts(said)),
        )


def _holds(condition: Condition, root: Any, text: str) -> bool:
    if condition.path:
        return root is not None and holds(condition, root)
    match condition.op:
        case "present" | "absent":
            return bool(text) == (condition.op == "present")
        case "prefix":
            return text.startswith(str(condition.value))
        case _:
            return text == condition.value


def _path(text: str) -> Path | None:
    return parse_path(text) if text else None


def _at(root: Any, path: Path | None) -> Any:
    return look_up(root, path) if path is not None else None


def _texts(value: Any) -> tuple[str, ...]:
    """The strings and numbers in a value: itself, or an array's elements."""
    if isinstance(value, str):
        return (str(value),)
    if isinstance(value, list):
        return tuple(str(element) for element in value if isinstance(element, str))
    if isinstance(value, Object):
        return tuple(str(element) for element in value.values() if isinstance(element, str))
    return ()
