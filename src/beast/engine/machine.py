"""What a server needs of the machine: ports that are free, and file descriptors."""

import errno
import ipaddress
import resource
import socket

from beast.base.errors import BeastError

WILDCARDS = {"0.0.0.0", "::", ""}  # noqa: S104 - recognised, not bound


def claim_port(kind: str, host: str, port: int) -> None:
    """Makes sure that nobody else has the port.

    The workers share their port with SO_REUSEPORT, so two servers of one user would bind it both and each get
    half of the requests. A plain socket is refused where anybody listens.

    Args:
        kind: "udp" or "report-udp", or anything else for TCP.
        host: Numeric address: the workers resolve no names.
        port: 0 is any free one; the address is tried all the same.

    Raises:
        BeastError: it is taken, or the address is none, or not this machine's.
    """
    where = f"{kind} {host}:{port}"
    datagrams = kind.endswith("udp")
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004
    except ValueError:
        raise BeastError("is no IP address", where=where, todo="give --host as in 127.0.0.1 or ::1") from None
    with socket.socket(family, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM) as probe:
        if not datagrams:
            # Connections of a server that has just ended linger in TIME_WAIT; they are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                todo = f"stop who has it, or choose another --{kind}-port (0: any)"
            else:
                todo = "give --host an address of this machine, or a port that you may use"
            raise BeastError(f"can't listen: {error.strerror}", where=where, todo=todo) from error


def client_host(host: str) -> str:
    """Where clients on this machine reach a server that listens on `host`."""
    return ("::1" if ":" in host else "127.0.0.1") if host in WILDCARDS else host


def raise_file_limit(wanted: int = 1 << 20) -> None:
    """As many open files as this process may have, up to `wanted`: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, reachable), hard))
