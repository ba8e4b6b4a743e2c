"""Keeping what waits for a client where it is seen: in the process, not in the kernel."""

import asyncio
import socket
from typing import Final

# Linux would take up to 4 MiB for a client that does not read.
_UNSENT_BYTES: Final = 64 * 1024
_OPTION: Final = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def limit_unsent(transport: asyncio.BaseTransport) -> None:
    """Bounds what the kernel holds unsent for a connection, where the system can."""
    connection = transport.get_extra_info("socket")
    if connection is not None and _OPTION is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _OPTION, _UNSENT_BYTES)
