"""Frames that an exchange packs: from what came to the text that is read."""

import zlib
from typing import Final

from beast.feeds.types import Compression

UNPACKED_MAX: Final = 4 << 20
"""Bytes of one frame's text: unpacking holds the loop, some 3 ms for as many."""
DAMAGED: Final = b"{"
"""Stands for a frame that can't be unpacked: text that breaks off, for it may have held a trade."""
_GZIP: Final = b"\x1f\x8b"
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8
_ZLIB_CHECK: Final = 31


def unpack(frame: bytes, compression: Compression) -> bytes:
    """The text of a frame; one that isn't packed, as text frames among packed ones are, stays as it is."""
    if compression == "gzip":
        return _inflate(frame, _GZIP_BITS) if frame.startswith(_GZIP) else frame
    if compression == "deflate" and not frame.lstrip().startswith((b"{", b"[")):
        return _inflate(frame, zlib.MAX_WBITS if _is_zlib(frame) else -zlib.MAX_WBITS)
    return frame


def _is_zlib(frame: bytes) -> bool:
    """Whether it begins as RFC 1950 says: the method, and a check of both bytes."""
    return frame[:1] != b"" and frame[0] & 15 == _ZLIB_METHOD and int.from_bytes(frame[:2]) % _ZLIB_CHECK == 0


def _inflate(frame: bytes, window_bits: int) -> bytes:
    packed = zlib.decompressobj(window_bits)
    try:
        text = packed.decompress(frame, UNPACKED_MAX + 1)
    except zlib.error:
        return DAMAGED
    return text if len(text) <= UNPACKED_MAX else DAMAGED
