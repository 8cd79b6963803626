"""Packed frames: what is packed is unpacked, what is damaged or too long is told apart."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast.feeds.rows.unpack import DAMAGED, UNPACKED_MAX, unpack
from beast.feeds.types import Compression

TEXT = b'{"ch":"market.btcusdt.trade.detail"}'


def bare(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush()


PACKERS: list[tuple[Compression, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare),
]


@pytest.mark.parametrize(("compression", "pack"), PACKERS)
@given(text=st.binary(max_size=300))
def test_what_is_packed_comes_out(compression: Compression, pack: Callable[[bytes], bytes], text: bytes) -> None:
    assert unpack(pack(b"{" + text), compression) == b"{" + text


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
@pytest.mark.parametrize("text", [TEXT, b" [1]", b"{"])
def test_text_among_packed_frames_stays(compression: Compression, text: bytes) -> None:
    assert unpack(text, compression) == text


@pytest.mark.parametrize(("compression", "pack"), PACKERS)
def test_a_frame_that_grows_beyond_all_measure_is_damaged(
    compression: Compression, pack: Callable[[bytes], bytes]
) -> None:
    assert len(unpack(pack(b"{" + b" " * (UNPACKED_MAX - 1)), compression)) == UNPACKED_MAX
    assert unpack(pack(b"{" + b" " * UNPACKED_MAX), compression) == DAMAGED


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
@given(frame=st.binary(max_size=200))
def test_any_bytes_come_to_something(compression: Compression, frame: bytes) -> None:
    assert isinstance(unpack(frame, compression), bytes)


def test_a_damaged_frame_is_text_that_breaks_off() -> None:
    packed = gzip.compress(TEXT)
    assert unpack(packed[:10] + b"\xff" + packed[11:], "gzip") == DAMAGED
