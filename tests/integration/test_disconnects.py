"""Readers that go: whose job ends with them, after a linger, and whose goes on."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import CHAT, GatewayWorld, refused, until
from tests.support.log_world import completed, wait_until
from tests.support.nats_rights import login, server_with_rights
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.services import (
    MakeStreaming,
    ServiceProcess,
    StreamingProcess,
    receive,
    send,
    sse,
    websocket,
)
from tests.support.worker_world import WorkerWorld
from tidegate.chassis.grpc_channel import make_channel
from tidegate.contracts.jobs import decode_job, new_job_id
from tidegate.contracts.subjects import (
    CONTROL_STREAM,
    JOBS_ALL,
    JOBS_STREAM,
    LEFT_ALL,
    control_subject,
)
from tidegate.v1 import jobs_pb2 as pb
from tidegate.v1.jobs_pb2_grpc import JobServiceStub

# Long enough that nothing but the end of a test ends it.
NEVER = 600.0
# Where nobody is there to answer, no time need be given for it.
_HASTY = {"linger_seconds": 0.2, "linger_answer_seconds": 0.1}
# Where another process is to answer, it has the time of a loaded machine.
_PATIENT = {"linger_seconds": 0.2, "linger_answer_seconds": 1.0}


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, nats_server: NatsServer, tmp_path: Path
) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path, **getattr(request, "param", _HASTY)) as world:
        yield world


@pytest.fixture
async def streaming(world: GatewayWorld, make_streaming: MakeStreaming) -> StreamingProcess:
    return await make_streaming(keys_file=world.keys_file)


async def running(world: GatewayWorld, policy: str = "cancel") -> str:
    """A job whose attempt has begun, and says nothing more."""
    job_id: str = (await world.create(on_disconnect=policy))["id"]
    await (await world.worker_plays(job_id)).abandon()
    return job_id


@asynccontextmanager
async def over_grpc(world: GatewayWorld, job_id: str, *, events: int = 1) -> AsyncIterator[None]:
    """A reader at the gateway, who has had so many events when this is entered."""
    call = world.rpc.stream(pb.StreamJobEventsRequest(job_id=job_id))
    for _ in range(events):
        await call.read()
    try:
        yield
    finally:
        call.cancel()


@asynccontextmanager
async def over_websocket(
    world: GatewayWorld, streaming: StreamingProcess, job_id: str
) -> AsyncIterator[None]:
    async with websocket(streaming, {"Authorization": f"Bearer {world.key}"}) as socket:
        await send(socket, type="subscribe", job_id=job_id)
        assert (await receive(socket))["sequence"] == 1
        yield


@asynccontextmanager
async def over_sse(
    world: GatewayWorld, streaming: StreamingProcess, job_id: str
) -> AsyncIterator[None]:
    """Entered with the first line: an event, or the beat that a queued job has."""
    async with sse(streaming, job_id, {"Authorization": f"Bearer {world.key}"}) as reader:
        await reader.read(lambda seen: bool(seen.lines))
        yield


async def cancelled(world: GatewayWorld, job_id: str) -> bool:
    """Whether the end of the job was asked for."""
    subject = control_subject("acme", job_id)
    return await world.peer.jetstream.last(CONTROL_STREAM, subject) is not None


def lingered(world: GatewayWorld, outcome: str, number: int = 1) -> Callable[[], Awaitable[bool]]:
    """Whether so many lingers of the world's gateway have ended so."""
    return partial(
        world.metric, f'tidegate_gateway_lingers_total{{outcome="{outcome}"}} {number}.0'
    )


def lingering(world: GatewayWorld) -> Callable[[], Awaitable[bool]]:
    """Whether one job is lingered over at the world's gateway."""
    return partial(world.metric, "tidegate_gateway_lingering_jobs 1.0")


@pytest.mark.parametrize("surface", ["grpc", "websocket", "sse"])
async def test_a_job_ends_when_its_last_reader_has_gone(
    surface: str, world: GatewayWorld, streaming: StreamingProcess
) -> None:
    job_id, unread = await running(world), await running(world)
    readers: dict[str, AbstractAsyncContextManager[None]] = {
        "grpc": over_grpc(world, job_id),
        "websocket": over_websocket(world, streaming, job_id),
        "sse": over_sse(world, streaming, job_id),
    }
    async with readers[surface]:
        assert not await cancelled(world, job_id)
    await until(partial(cancelled, world, job_id))
    # Nobody has read this one: to look at a job is not to read it.
    await world.get(unread)
    assert not await cancelled(world, unread)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_completion_ends_when_its_caller_has_gone(
    stream: bool, world: GatewayWorld
) -> None:
    """Nobody says so: for a call that somebody waits for, it goes without saying."""
    job_id = await abandoned_completion(world, stream=stream)
    await until(partial(cancelled, world, job_id))


async def abandoned_completion(world: GatewayWorld, **body: Any) -> str:
    """The job of a chat completion whose client goes while it waits for the model."""
    calling = asyncio.create_task(complete(world, CHAT | body))
    queued = await until(partial(world.peer.jetstream.last, JOBS_STREAM, JOBS_ALL))
    assert queued is not None
    job_id = decode_job(queued.payload).id
    await (await world.worker_plays(job_id)).abandon()
    await until(partial(world.metric, "tidegate_gateway_streams 1.0"))
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    return job_id


async def complete(world: GatewayWorld, body: dict[str, Any]) -> bytes:
    async with world.http.post("/v1/chat/completions", json=body) as response:
        return await response.read()


async def test_a_queued_job_ends_without_any_worker(
    world: GatewayWorld, streaming: StreamingProcess
) -> None:
    job_id = (await world.create(on_disconnect="cancel"))["id"]
    async with over_sse(world, streaming, job_id):
        pass

    async def ended() -> bool:
        return bool((await world.get(job_id))["state"] == "cancelled")

    await until(ended)
    await until(world.nothing_waits)


@pytest.mark.parametrize("world", [_PATIENT], indirect=True)
async def test_a_reader_on_another_surface_keeps_the_job_alive(
    world: GatewayWorld, streaming: StreamingProcess
) -> None:
    job_id = await running(world)
    async with over_websocket(world, streaming, job_id):
        async with over_grpc(world, job_id):
            pass
        await until(lingered(world, "read"))
        assert not await cancelled(world, job_id)
    await until(partial(cancelled, world, job_id))


async def test_a_reader_that_comes_back_in_time_keeps_the_job_alive(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, linger_seconds=2) as world:
        job_id = await running(world)
        async with over_grpc(world, job_id):
            pass
        await until(lingering(world))
        async with over_grpc(world, job_id):
            await until(lingered(world, "read"))
        assert not await cancelled(world, job_id)
        # Gone for good, and no moment of the first absence counts.
        await until(partial(cancelled, world, job_id))


async def test_a_job_that_is_to_go_on_does(
    world: GatewayWorld, streaming: StreamingProcess
) -> None:
    """Known to be one by whoever met it before its first event: then not a word is said."""
    heard: list[str] = []

    async def on_left(message: Any) -> None:
        heard.append(message.subject)

    await world.peer.client.subscribe(LEFT_ALL, cb=on_left)
    queued: str = (await world.create())["id"]
    async with over_sse(world, streaming, queued):
        pass
    # Nor of a job that is not there, whoever asks for it.
    await refused(world.rpc.stream(pb.StreamJobEventsRequest(job_id=new_job_id())).read())
    begun = await running(world, "detach")
    async with over_grpc(world, begun):
        pass
    await until(lingered(world, "detached"))
    assert heard == [f"left.acme.{begun}"]
    for job_id in (queued, begun):
        assert not await cancelled(world, job_id)


async def test_a_reader_that_has_it_all_ends_nothing(world: GatewayWorld) -> None:
    job_id = (await world.create(on_disconnect="cancel"))["id"]
    await (await world.worker_plays(job_id)).seal(completed())
    call = world.rpc.stream(pb.StreamJobEventsRequest(job_id=job_id))
    assert [each.event.WhichOneof("event") async for each in call][-1] == "completed"
    other = await running(world)
    async with over_grpc(world, other):
        pass
    await until(partial(cancelled, world, other))
    assert not await cancelled(world, job_id)
    assert (await world.get(job_id))["state"] == "completed"


async def test_a_drain_lets_its_readers_go(
    world: GatewayWorld, streaming: StreamingProcess
) -> None:
    job_id = await running(world)
    with contextlib.suppress(AssertionError):
        async with over_websocket(world, streaming, job_id):
            streaming.signal(signal.SIGTERM)
            assert await streaming.wait() == 0
    await until(partial(cancelled, world, job_id))


async def test_a_reader_that_goes_during_an_outage_is_told_of_after_it(
    world: GatewayWorld, nats_server: NatsServer
) -> None:
    job_id = await running(world)
    async with over_grpc(world, job_id):
        await nats_server.kill()
    await until(partial(world.metric, "tidegate_gateway_streams 0.0"))
    await nats_server.start()
    await wait_until(lambda: world.peer.client.is_connected)
    await until(partial(cancelled, world, job_id))


async def test_a_gateway_that_stops_leaves_its_lingers_to_another(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    never = _HASTY | {"linger_seconds": NEVER}
    async with GatewayWorld(nats_server, tmp_path, **never) as world:
        job_id = await running(world)
        async with over_grpc(world, job_id):
            pass
        await until(lingering(world))
        await world.start_gateway(linger_seconds=0.2)
        await world.gateway.lifecycle.stop()
        await until(partial(cancelled, world, job_id))


async def test_a_killed_gateway_cancels_nothing(
    world: GatewayWorld, streaming: StreamingProcess, tmp_path: Path
) -> None:
    """Neither what it lingered over, nor what it carried the readers of."""
    lingered_over, carried, other = [await running(world) for _ in range(3)]
    await world.gateway.lifecycle.stop()
    async with gateway_process(world, tmp_path, linger_seconds=1) as (gateway, rpc):
        call = rpc.StreamJobEvents(
            pb.StreamJobEventsRequest(job_id=carried), metadata=world.rpc.metadata
        )
        await call.read()
        async with over_websocket(world, streaming, lingered_over):
            pass

        async def begun() -> bool:
            return "tidegate_gateway_lingering_jobs 1.0" in await gateway.metrics()

        await until(begun)
        await gateway.kill()
    # Another one takes over, and cancels what is left from now on.
    await world.start_gateway()
    async with over_sse(world, streaming, other):
        pass
    await until(partial(cancelled, world, other))
    for job_id in (lingered_over, carried):
        assert not await cancelled(world, job_id)


@asynccontextmanager
async def gateway_process(
    world: GatewayWorld, directory: Path, *, linger_seconds: float
) -> AsyncIterator[tuple[ServiceProcess, Any]]:
    """A gateway that can be killed, and a gRPC stub of it."""
    target = f"127.0.0.1:{free_port()}"
    gateway = ServiceProcess(
        "gateway",
        directory,
        free_port(),
        TIDEGATE_NATS_URL=world.nats.url,
        TIDEGATE_GRPC_LISTEN=target,
        TIDEGATE_HTTP_LISTEN=f"127.0.0.1:{free_port()}",
        TIDEGATE_ROUTES_FILE=str(directory / "routes.yaml"),
        TIDEGATE_KEYS_FILE=str(world.keys_file),
        TIDEGATE_LINGER_SECONDS=str(linger_seconds),
    )
    channel = make_channel(target, max_message_bytes=2**20)
    async with gateway:
        yield gateway, JobServiceStub(channel)
    await channel.close()


async def test_each_service_may_say_what_it_has_to(tmp_path: Path) -> None:
    """With the rights of `tidegate up`; a server without users would allow everything."""
    async with server_with_rights(tmp_path) as nats:
        own: dict[str, Any] = login(nats, "gateway")
        async with GatewayWorld(nats, tmp_path, linger_seconds=0.2, **own) as world:
            its = login(nats, "streaming")
            streaming = StreamingProcess(
                its.pop("nats_url"), tmp_path, keys_file=world.keys_file, **its
            )
            async with streaming:
                job_id = await running(world)
                async with over_sse(world, streaming, job_id):
                    async with over_grpc(world, job_id):
                        pass
                    await until(lingered(world, "read"))
                await until(partial(cancelled, world, job_id))
                assert streaming.complaints() == []
            async with world.http.delete("/v1/dead-letters") as response:
                assert (response.status, await response.json()) == (200, {"purged": 0})
            assert world.gateway.lifecycle.guard.fault is None


async def test_the_providers_connection_is_closed_and_what_was_used_is_booked(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    (tmp_path / "workers").mkdir()
    async with WorkerWorld(nats_server, tmp_path / "workers", tokens_per_second=20) as workers:
        await workers.start_worker()
        own: dict[str, Any] = _HASTY | {"routes_file": workers.routes_file}
        async with GatewayWorld(nats_server, tmp_path, **own) as world:
            detached = await world.create(request=CHAT | {"max_tokens": 60})
            job = await world.create(request=CHAT | {"max_tokens": 5_000}, on_disconnect="cancel")
            for each in (detached, job):
                async with over_grpc(world, each["id"], events=4):
                    pass
            await until(partial(cancelled, world, job["id"]))

            async def ended() -> dict[str, Any] | None:
                shown = [await world.get(each["id"]) for each in (detached, job)]
                return shown[1] if all(each["finished_at"] for each in shown) else None

            shown = await until(ended)
            assert shown is not None
            assert (shown["state"], shown["error"]["reason"]) == (
                "cancelled",
                "CANCELLED_BY_CALLER",
            )
            assert shown["usage"]["output_tokens"] >= 3
            assert shown["answer"]["text"]
            stats = await workers.stats(idle_within="20")
            assert (stats["aborted"], stats["completed"]) == (1, 1)
            assert (await world.get(detached["id"]))["state"] == "completed"
