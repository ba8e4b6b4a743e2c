"""The nats-servers that jobs are kept on, and who of them leads a stream."""

import asyncio
import contextlib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
import nats
import nats.errors
from nats.aio.client import Client

from tests.chaos.mortals import Server
from tests.support.ports import free_port

_CLUSTER: Final = 3
_CONFIG: Final = "max_payload: 8MB"
# Else the servers tell clients of each other's real addresses, and those go past the wire.
_PEER: Final = """
server_name: {name}
cluster {{ name: chaos, no_advertise: true, listen: "127.0.0.1:{port}", routes: [{peers}] }}
"""
# A blow waits for the answer.
_ASKING_SECONDS: Final = 1.5


class Topology(StrEnum):
    """What the jobs are kept on."""

    ONE = "one nats-server"
    ALWAYS = "one, sync_interval: always"
    THREE = "three, R3"


def servers(directory: Path, topology: Topology) -> dict[str, Server]:
    """By name, not started."""
    if topology is not Topology.THREE:
        sync = "sync_interval: always" if topology is Topology.ALWAYS else ""
        return {"nats-1": Server(directory, config=_CONFIG, jetstream=sync)}
    ports = {f"nats-{number + 1}": free_port() for number in range(_CLUSTER)}
    peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports.values())
    return {
        name: Server(directory, config=_CONFIG + _PEER.format(name=name, port=port, peers=peers))
        for name, port in ports.items()
    }


async def leaders(running: Mapping[str, Server], streams: list[str]) -> dict[str, str]:
    """The names of the servers that lead these streams, of those that can be found out now."""
    for server in running.values():
        with contextlib.suppress(OSError, TimeoutError, nats.errors.Error):
            async with asyncio.timeout(2 * _ASKING_SECONDS):
                if led := await _ask(server.url, streams):
                    return led
    return {}


async def _ask(url: str, streams: list[str]) -> dict[str, str]:
    client = await nats.connect(url, allow_reconnect=False, error_cb=_ignore)
    try:
        asked = await asyncio.gather(*(_leader(client, stream) for stream in streams))
        return {stream: name for stream, name in zip(streams, asked, strict=True) if name}
    finally:
        await client.close()


async def _leader(client: Client, stream: str) -> str:
    """Empty where nobody answers: only the leader would, and it may be frozen."""
    try:
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=_ASKING_SECONDS)
    except (TimeoutError, nats.errors.Error):
        return ""
    cluster = msgspec.json.decode(answer.data).get("cluster") or {}
    return str(cluster.get("leader", ""))


async def _ignore(error: Exception) -> None:
    """Servers are being struck; whoever asks notices."""
