"""The configuration of the chart's NATS servers, on real servers that form a cluster."""

import asyncio
import contextlib
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from tests.support.nats_server import binary
from tests.support.ports import free_port
from tidegate.cli.nats_config import (
    ADMIN,
    OPERATOR,
    USERS,
    Cluster,
    NatsServer,
    nats_config,
    password_users,
)


class _Servers:
    """Three servers of one cluster, each with a configuration of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.clients = [free_port() for _ in range(3)]
        self._peers = [f"127.0.0.1:{free_port()}" for _ in range(3)]
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> "_Servers":
        for number, port in enumerate(self.clients):
            server = NatsServer(
                f"127.0.0.1:{port}",
                self._directory / f"store-{number}",
                name=f"tidegate-nats-{number}",
                cluster=Cluster("tidegate", self._peers[number], tuple(self._peers)),
                sync_always=True,
            )
            passwords = {
                user: f"pw-{user}" for user in password_users(server, admin=True, operator=True)
            }
            file = self._directory / f"nats-{number}.conf"
            file.write_text(nats_config(server, passwords))
            with (self._directory / f"nats-{number}.log").open("ab") as log:
                self._processes.append(
                    await asyncio.create_subprocess_exec(
                        str(binary()), "-c", str(file), stdout=log, stderr=log
                    )
                )
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def connect(self, user: str, password: str, server: int = 0) -> Client:
        """As soon as the server is there. Raises PermissionError for who is not let in."""
        refused: list[str] = []

        async def hear(error: Exception) -> None:
            if "authorization" in str(error).lower():
                refused.append(str(error))

        while not refused:
            client = Client()
            try:
                await client.connect(
                    f"nats://127.0.0.1:{self.clients[server]}",
                    user=user,
                    password=password,
                    allow_reconnect=False,
                    error_cb=hear,
                )
            except (ConnectionError, nats.errors.Error):
                # The library leaves the socket of a failed attempt open.
                if client._transport is not None:
                    client._transport.close()  # type: ignore[no-untyped-call]
                await asyncio.sleep(0.1)
            else:
                return client
        raise PermissionError(refused[0])


async def test_three_servers_find_each_other_and_keep_three_copies(tmp_path: Path) -> None:
    async with _Servers(tmp_path) as servers:
        client = await servers.connect(ADMIN, f"pw-{ADMIN}")
        jetstream = client.jetstream(timeout=5)
        while True:
            with contextlib.suppress(nats.errors.Error):
                await jetstream.add_stream(name="S", subjects=["s"], num_replicas=3)
                break
            await asyncio.sleep(0.2)
        await jetstream.publish("s", b"kept")
        info = await jetstream.stream_info("S")
        assert info.cluster is not None
        assert len(info.cluster.replicas or []) == 2
        await client.close()
        other = await servers.connect("gateway", "pw-gateway", server=2)
        assert other.is_connected
        await other.close()
        with pytest.raises(PermissionError):
            await servers.connect("gateway", "guessed")


def test_a_password_that_could_say_more_than_itself_is_refused() -> None:
    server = NatsServer("127.0.0.1:1", Path("store"))
    passwords = dict.fromkeys(password_users(server, admin=False, operator=False), "fine")
    with pytest.raises(ValueError, match="password of worker"):
        nats_config(server, passwords | {"worker": 'x", permissions: {}'})


def test_an_installation_without_an_operator_needs_no_password_for_one() -> None:
    """Whoever brings passwords of his own has none for what he does not run."""
    server = NatsServer("127.0.0.1:1", Path("store"))
    needed = password_users(server, admin=False, operator=False)
    assert "operator" not in nats_config(server, dict.fromkeys(needed, "fine"))
    needed = password_users(server, admin=False, operator=True)
    assert "user: operator" in nats_config(server, dict.fromkeys(needed, "fine"))


def test_the_operator_may_not_ask_for_what_it_does_not_use() -> None:
    publish, _ = USERS[OPERATOR]
    assert not [subject for subject in publish if subject.startswith("$JS.API.STREAM.")]
