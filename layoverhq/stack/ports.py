"""Free TCP ports on the loopback address."""

import errno
import socket
from collections.abc import Iterator

# Linux hands out ports from 32768 on to outgoing connections, which would take them away from a
# server between two starts.
EPHEMERAL = 32768


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen there now."""
    with socket.socket() as probe:
        # Servers set this as well: connections that linger after a stop are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as problem:
            if problem.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def free_ports(first: int, host: str = "127.0.0.1") -> Iterator[int]:
    """Yield the free ports from `first` on, below the ephemeral range."""
    return (port for port in range(first, EPHEMERAL) if is_free(port, host))
