"""A deleted job's text must not come back because a nats-server was killed."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import GatewayWorld, until
from tests.support.log_world import LogPeer, completed
from tests.support.nats_rights import login, server_with_rights
from tests.support.nats_server import NatsServer
from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.contracts.events import Delta
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.seal import is_sealed
from tidegate.contracts.subjects import EVENTS_STREAM, ROLLUP, SHARDS, log_subject
from tidegate.eventlog.revived import purge_revived
from tidegate.gateway import revived

_DELTAS = 3


class Forgetful(JetStream):
    """Stores a seal beside what it replaces: what a server leaves that has forgotten of it."""

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        kept = {name: value for name, value in headers.items() if name != ROLLUP}
        return await super().publish(subject, payload, kept)


async def forgetful(world: GatewayWorld) -> LogPeer:
    jetstream = Forgetful(world.peer.client)
    await jetstream.start()
    return LogPeer(world.peer.client, jetstream)


async def write(peer: LogPeer, *, ends: bool) -> QueuedJob:
    job = await peer.queue_job()
    writer = await peer.start_attempt(job)
    for number in range(_DELTAS):
        writer.emit(Delta(f"{number} "))
        await writer.caught_up()
    if ends:
        await writer.seal(completed())
    return job


async def messages_of(world: GatewayWorld, job: QueuedJob) -> int:
    subject = log_subject(job.tenant, job.id)
    body = {"subjects_filter": subject}
    state = (await world.peer.jetstream.api(f"STREAM.INFO.{EVENTS_STREAM}", body))["state"]
    return int((state.get("subjects") or {}).get(subject, 0))


class Sweeps:
    """Counts the shards that gateways have looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shards = 0
        monkeypatch.setattr(revived, "purge_revived", self._purge)

    async def first_is_over(self) -> bool:
        return self.shards >= SHARDS

    async def _purge(self, jetstream: JetStream, shard: int) -> int:
        purged = await purge_revived(jetstream, shard)
        self.shards += 1
        return purged


@pytest.mark.parametrize("when", ["at its start", "after a restart of the server"])
async def test_a_gateway_purges_what_stands_before_a_seal(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    sweeps = Sweeps(monkeypatch)
    async with GatewayWorld(nats_server, tmp_path) as world:
        await until(sweeps.first_is_over)
        peer = await forgetful(world)
        ended = [await write(peer, ends=True) for _ in range(3)]
        running = await write(peer, ends=False)
        before = await messages_of(world, running)
        assert [await messages_of(world, job) for job in ended] == [before + 1] * 3
        if when == "at its start":
            await world.start_gateway()
        else:
            await nats_server.stop()
            await nats_server.start()

        async def put_right() -> bool:
            with contextlib.suppress(JetStreamError):
                return [await messages_of(world, job) for job in ended] == [1, 1, 1]
            return False

        await until(put_right)
        assert await messages_of(world, running) == before
        for job in ended:
            last = await world.peer.jetstream.last(EVENTS_STREAM, log_subject(job.tenant, job.id))
            assert last is not None
            assert is_sealed(last.payload)


async def test_a_gateway_has_the_rights_that_purging_takes(tmp_path: Path) -> None:
    """One that is missing ends the process, just after a nats-server was killed."""
    async with server_with_rights(tmp_path) as nats:
        own: dict[str, Any] = login(nats, "gateway")
        async with GatewayWorld(nats, tmp_path, **own) as world:
            ended = await write(await forgetful(world), ends=True)
            await world.start_gateway()

            async def put_right() -> bool:
                return await messages_of(world, ended) == 1

            await until(put_right)
            assert world.gateway.lifecycle.guard.fault is None
