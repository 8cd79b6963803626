"""Responses that a connection writes by itself, without the application."""

from collections.abc import Iterable
from http import HTTPStatus

from beast.http.errors import Fault


def head_bytes(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A response's status line and headers."""
    head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()]
    head += [name + b": " + value + b"\r\n" for name, value in headers]
    return b"".join([*head, b"\r\n"])


def refusal_bytes(fault: Fault, headers: list[tuple[bytes, bytes]]) -> bytes:
    """A whole response that closes the connection."""
    body = fault.body
    about = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    return head_bytes(fault.status, [*headers, *about]) + body
