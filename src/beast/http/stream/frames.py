"""WebSocket frames as a server reads and writes them: RFC 6455, without extensions and without a socket.

Frames of a server are not masked, so that one event is the same bytes for every client.
"""

import struct
from base64 import b64encode
from collections.abc import Iterator
from enum import IntEnum
from hashlib import sha1
from typing import NamedTuple

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGE_MAX = 16 << 10
"""Bytes of a client's message."""
CONTROL_MAX = 125
LEN_16, LEN_64 = 126, 127
KEY_CHARS = 24
FIN, RESERVED, CODE, MASKED = 0x80, 0x70, 0x0F, 0x80


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """RFC 6455, section 7.4.1."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    INVALID_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009


class FrameError(Exception):
    """The client broke the protocol; `code` says so in the close frame."""

    def __init__(self, code: CloseCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Message(NamedTuple):
    """A whole message, or a control frame."""

    opcode: Opcode
    payload: bytes


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for the client's Sec-WebSocket-Key (section 4.2.2)."""
    return b64encode(sha1(key.encode() + GUID, usedforsecurity=False).digest()).decode()


def frame(opcode: Opcode, payload: bytes) -> bytes:
    """A whole unmasked frame."""
    length = len(payload)
    if length < LEN_16:
        return bytes((FIN | opcode, length)) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", FIN | opcode, LEN_16, length) + payload
    return struct.pack("!BBQ", FIN | opcode, LEN_64, length) + payload


def close_frame(code: CloseCode, reason: str = "") -> bytes:
    """A close frame; `reason` is at most 123 bytes."""
    return frame(Opcode.CLOSE, struct.pack("!H", code) + reason.encode())


class FrameReader:
    """Makes messages of a client's bytes, however they are cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts = bytearray()
        self._opcode: Opcode | None = None

    def feed(self, data: bytes) -> Iterator[Message]:
        """Every message that is whole now.

        Raises:
            FrameError: the client broke the protocol; read no further.
        """
        self._buffer += data
        while (found := self._next()) is not None:
            if (message := self._assemble(*found)) is not None:
                yield message

    def _next(self) -> tuple[bool, Opcode, bytes] | None:
        """Takes one whole frame off the buffer: whether it is the last of its message, its kind, its payload."""
        buffer = self._buffer
        if len(buffer) < 2:  # noqa: PLR2004 - the two bytes that every frame has
            return None
        opcode, length = self._checked_head(buffer[0], buffer[1])
        at = 2
        if length >= LEN_16:
            size = 2 if length == LEN_16 else 8
            if len(buffer) < at + size:
                return None
            length = int.from_bytes(buffer[at : at + size], "big")
            at += size
        if length + len(self._parts) > MESSAGE_MAX:
            raise FrameError(CloseCode.TOO_BIG, f"a message is at most {MESSAGE_MAX} bytes")
        if len(buffer) < at + 4 + length:
            return None
        payload = unmasked(bytes(buffer[at + 4 : at + 4 + length]), bytes(buffer[at : at + 4]))
        last = bool(buffer[0] & FIN)
        del buffer[: at + 4 + length]
        return last, opcode, payload

    def _checked_head(self, first: int, second: int) -> tuple[Opcode, int]:
        try:
            opcode = Opcode(first & CODE)
        except ValueError:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "there is no such opcode") from None
        length = second & ~MASKED
        if first & RESERVED:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "no extension was agreed on")
        if not second & MASKED:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a client masks its frames")
        if opcode >= Opcode.CLOSE and (length > CONTROL_MAX or not first & FIN):
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame is short and whole")
        if (opcode is Opcode.CONTINUATION) != (self._opcode is not None) and opcode < Opcode.CLOSE:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a message goes on until its last frame")
        return opcode, length

    def _assemble(self, last: bool, opcode: Opcode, payload: bytes) -> Message | None:  # noqa: FBT001 - see _next
        if opcode >= Opcode.CLOSE:
            return Message(opcode, payload)
        self._opcode = opcode if self._opcode is None else self._opcode
        self._parts += payload
        if not last:
            return None
        message = Message(self._opcode, bytes(self._parts))
        self._opcode = None
        self._parts.clear()
        return message


def unmasked(payload: bytes, mask: bytes) -> bytes:
    """The payload as it was before the client masked it (section 5.3)."""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")
