import struct
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.http.stream.frames import (
    MESSAGE_MAX,
    CloseCode,
    FrameError,
    FrameReader,
    Message,
    Opcode,
    accept_key,
    close_frame,
    frame,
    unmasked,
)


def masked(opcode: int, payload: bytes, *, first: int = 0x80) -> bytes:
    """A frame as a client sends it."""
    mask = b"\x37\xfa\x21\x3d"
    length = len(payload)
    if length < 126:
        head = bytes((first | opcode, 0x80 | length))
    else:
        head = struct.pack("!BBH", first | opcode, 0x80 | 126, length)
    return head + mask + unmasked(payload, mask)


def read(data: bytes) -> list[Message]:
    return list(FrameReader().feed(data))


def test_the_key_of_the_specification() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("size", "head"),
    [(0, "8100"), (125, "817d"), (126, "817e007e"), (65_535, "817effff"), (65_536, "817f0000000000010000")],
)
def test_a_frame_tells_its_length(size: int, head: str) -> None:
    assert frame(Opcode.TEXT, b"x" * size) == bytes.fromhex(head) + b"x" * size


def test_a_close_frame_tells_why() -> None:
    assert close_frame(CloseCode.GOING_AWAY, "bye") == b"\x88\x05\x03\xe9bye"


@given(
    st.lists(st.tuples(st.sampled_from([Opcode.TEXT, Opcode.PING]), st.binary(max_size=125)), max_size=8),
    st.lists(st.integers(0, 600)),
)
def test_messages_survive_any_cut(messages: list[tuple[Opcode, bytes]], cuts: list[int]) -> None:
    whole = b"".join(masked(opcode, payload) for opcode, payload in messages)
    reader = FrameReader()
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    got = [message for at, end in pairwise(edges) for message in reader.feed(whole[at:end])]
    assert got == messages


def test_a_message_in_pieces_with_a_ping_between() -> None:
    pieces = masked(1, b"ab", first=0) + masked(9, b"!") + masked(0, b"cd", first=0) + masked(0, b"e") + masked(1, b"f")
    assert read(pieces) == [(Opcode.PING, b"!"), (Opcode.TEXT, b"abcde"), (Opcode.TEXT, b"f")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x01x", CloseCode.PROTOCOL_ERROR),
        (masked(1, b"x", first=0xC0), CloseCode.PROTOCOL_ERROR),
        (masked(3, b"x"), CloseCode.PROTOCOL_ERROR),
        (masked(11, b"x"), CloseCode.PROTOCOL_ERROR),
        (masked(9, b"x", first=0), CloseCode.PROTOCOL_ERROR),
        (masked(9, b"x" * 126), CloseCode.PROTOCOL_ERROR),
        (masked(0, b"x"), CloseCode.PROTOCOL_ERROR),
        (masked(1, b"x", first=0) + masked(1, b"y"), CloseCode.PROTOCOL_ERROR),
        (masked(1, b"x" * (MESSAGE_MAX + 1)), CloseCode.TOO_BIG),
        (masked(1, b"x" * MESSAGE_MAX, first=0) + masked(0, b"x"), CloseCode.TOO_BIG),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", CloseCode.TOO_BIG),
    ],
)
def test_what_a_client_must_not_send(data: bytes, code: CloseCode) -> None:
    with pytest.raises(FrameError) as caught:
        read(data)
    assert caught.value.code is code


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_message_or_a_fault(data: bytes) -> None:
    with suppress(FrameError):
        assert all(isinstance(message, Message) for message in read(data))
