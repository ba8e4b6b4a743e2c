"""Streaming over gRPC: every event once, from wherever the client stopped."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from tests.support.gateway_world import CHAT, TENANT, GatewayWorld, Rpc, refused, until
from tests.support.log_world import completed, words
from tests.support.nats_server import NatsServer
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Append, Cancelled, Delta, Failed, Waiting, encode_append
from tidegate.contracts.subjects import log_subject
from tidegate.v1 import jobs_pb2 as pb


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path) as world:
        yield world


async def stream(world: GatewayWorld, job_id: str, after: int = 0, **more: Any) -> list[Any]:
    request = pb.StreamJobEventsRequest(job_id=job_id, after_sequence=after)
    return [answer.event async for answer in world.rpc.stream(request, **more)]


async def test_a_client_gets_the_rest_from_every_sequence(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    writer = await world.worker_plays(job_id)
    for event in [*words(10), Waiting("retry", 1_700_000_000_123), Delta("{}", "tool_call", 1)]:
        writer.emit(event)
    live = asyncio.create_task(stream(world, job_id))
    await writer.seal(completed())
    whole = await live
    assert [event.sequence for event in whole] == list(range(1, 15))
    assert {event.job_id for event in whole} == {job_id}
    assert whole[0].attempt_started.attempt == 1
    assert "".join(event.delta.data for event in whole[1:11]) == "0 1 2 3 4 5 6 7 8 9 "
    assert whole[11].waiting.until.ToMilliseconds() == 1_700_000_000_123
    assert (whole[12].delta.kind, whole[12].delta.choice) == (pb.DELTA_KIND_TOOL_CALL, 1)
    last = whole[-1].completed
    assert (last.finish_reasons, last.cost_nano_usd) == (["stop"], 4)
    assert last.timings.time_to_first_token.ToMilliseconds() == 2
    for after in range(16):
        assert await stream(world, job_id, after) == whole[after:], after


async def test_a_running_job_is_followed_live_from_every_sequence(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    early = asyncio.create_task(stream(world, job_id))
    writer = await world.worker_plays(job_id)
    for event in words(5):
        writer.emit(event)
    followers = [asyncio.create_task(stream(world, job_id, after)) for after in range(9)]
    for event in words(5, prefix="more "):
        writer.emit(event)
        await asyncio.sleep(0)
    await writer.seal(completed())
    whole = await early
    assert [event.sequence for event in whole] == list(range(1, 13))
    for after, follower in enumerate(followers):
        assert await follower == whole[after:]


@pytest.mark.parametrize("kind", [Failed, Cancelled])
async def test_how_a_job_ended_is_told_with_its_reason(
    world: GatewayWorld, kind: type[Failed] | type[Cancelled]
) -> None:
    job_id = (await world.create())["id"]
    writer = await world.worker_plays(job_id)
    await writer.seal(kind("PROVIDER_TIMEOUT", "too slow", retriable=True, cost_nano_usd=3))
    last = (await stream(world, job_id))[-1]
    ended = last.failed if kind is Failed else last.cancelled
    assert (ended.error.reason, ended.error.retriable) == ("PROVIDER_TIMEOUT", True)
    assert ended.cost_nano_usd == 3


async def test_an_event_of_a_later_release_keeps_its_place(world: GatewayWorld) -> None:
    """A client would otherwise meet a gap, or the stream would break off."""
    job_id = (await world.create())["id"]
    writer = await world.worker_plays(job_id)
    await writer.abandon()
    subject = log_subject(TENANT, job_id)
    stored = await world.peer.jetstream.last("EVENTS", subject)
    assert stored is not None
    later = msgspec.Raw(b'{"type":"telepathy","thought":1}')
    line = Append(attempt=1, first=2, at_ms=5, events=[later], log=stored.sequence)
    await world.peer.jetstream.publish(subject, encode_append(line), {})
    await (await world.worker_plays(job_id)).seal(completed())
    events = await stream(world, job_id)
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert events[1].WhichOneof("event") is None
    assert (await world.get(job_id))["state"] == "completed"


async def test_a_negative_sequence_is_an_invalid_argument(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    error = await refused(stream(world, job_id, -1))
    assert error.code().name == "INVALID_ARGUMENT"
    assert from_rpc_error(error).field == "after_sequence"


async def test_a_calls_deadline_ends_the_call_and_not_the_job(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    error = await refused(stream(world, job_id, timeout=0.3))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await world.get(job_id))["state"] == "queued"


async def test_a_client_that_goes_leaves_nothing_behind(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    writer = await world.worker_plays(job_id)
    call = world.rpc.stream(pb.StreamJobEventsRequest(job_id=job_id))
    assert (await call.read()).event.sequence == 1
    call.cancel()
    await until(lambda: world.metric("tidegate_gateway_streams 0.0"))
    await writer.seal(completed())


async def test_a_job_deleted_while_it_is_followed_ends_the_stream(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    await (await world.worker_plays(job_id)).seal(completed())
    assert len(await stream(world, job_id)) == 2
    await world.rpc.call("DeleteJob", pb.DeleteJobRequest(job_id=job_id))
    # The tail in the gateway's memory hears of the tombstone a moment later.
    error = await until(lambda: outcome(stream(world, job_id)))
    assert error is not None
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def outcome(call: Any) -> grpc.aio.AioRpcError | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_a_drain_sends_clients_elsewhere_at_once(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    second = await world.start_gateway()
    call = asyncio.create_task(stream(world, job_id))
    await until(lambda: world.metric("tidegate_gateway_streams 1.0"))
    draining = asyncio.create_task(world.gateway.lifecycle.stop())
    error = await refused(call)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert from_rpc_error(error).reason is Reason.DRAINING
    await draining
    async with (
        world.client(second, world.key) as http,
        http.get(f"/v1/jobs/{job_id}") as response,
    ):
        assert (await response.json())["state"] == "queued"


async def test_a_client_that_stops_reading_is_cut_and_can_resume(tmp_path: Path) -> None:
    """It would otherwise hold a whole log in the gateway's memory for as long as it likes."""
    async with (
        NatsServer(tmp_path, config="max_payload: 8MB") as nats_server,
        GatewayWorld(nats_server, tmp_path, slow_reader_seconds=0.5) as world,
    ):
        job_id = (await world.create())["id"]
        writer = await world.worker_plays(job_id)
        for _ in range(40):
            writer.emit(Delta("x" * 100_000))
        await writer.seal(completed())
        narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
        address = str(world.gateway.grpc.address)
        async with grpc.aio.insecure_channel(address, options=narrow) as channel:
            call = channel.unary_stream(
                "/tidegate.v1.JobService/StreamJobEvents",
                pb.StreamJobEventsRequest.SerializeToString,
                pb.StreamJobEventsResponse.FromString,
            )(pb.StreamJobEventsRequest(job_id=job_id), metadata=world.rpc.metadata)
            await until(lambda: world.metric("tidegate_gateway_slow_readers_total 1.0"))
            seen: list[int] = []

            async def read_on() -> None:
                async for answer in call:
                    seen.append(answer.event.sequence)  # noqa: PERF401

            error = await refused(read_on())
        told = from_rpc_error(error)
        assert (error.code().name, told.reason) == ("RESOURCE_EXHAUSTED", "SLOW_READER")
        assert "resume" in told.message
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < 42
        rest = await stream(world, job_id, len(seen))
        assert [event.sequence for event in rest] == list(range(len(seen) + 1, 43))


async def test_two_hundred_clients_of_one_job_all_get_all(world: GatewayWorld) -> None:
    job_id = (await world.create())["id"]
    calls = [asyncio.create_task(stream(world, job_id)) for _ in range(200)]
    writer = await world.worker_plays(job_id)
    for event in words(20):
        writer.emit(event)
        await asyncio.sleep(0)
    await writer.seal(completed())
    for events in await asyncio.gather(*calls):
        assert [event.sequence for event in events] == list(range(1, 23))


async def test_following_costs_no_create_its_place(world: GatewayWorld) -> None:
    """Streams and creates share one process; both surfaces go on beside a hundred streams."""
    job_id = (await world.create())["id"]
    calls = [asyncio.create_task(stream(world, job_id)) for _ in range(100)]
    async with world.http.post("/v1/jobs", json={"request": CHAT}) as response:
        assert response.status == 202
    await (await world.worker_plays(job_id)).seal(completed())
    await asyncio.gather(*calls)


async def test_a_tenant_with_too_many_streams_is_sent_away_until_one_ends(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Every followed log is held in memory: one tenant's must not push the others out."""
    async with GatewayWorld(nats_server, tmp_path, max_streams_per_tenant=1) as world:
        job_id = (await world.create())["id"]
        first = asyncio.create_task(stream(world, job_id))
        await until(lambda: world.metric("tidegate_gateway_streams 1.0"))
        error = await refused(stream(world, job_id))
        told = from_rpc_error(error)
        assert (error.code().name, told.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
        assert told.retry_after is not None
        async with Rpc(world.gateway, world.stranger) as rpc:
            request = pb.StreamJobEventsRequest(job_id=job_id)
            error = await refused(rpc.stream(request).read())
            assert error.code() is grpc.StatusCode.NOT_FOUND
        await (await world.worker_plays(job_id)).seal(completed())
        assert len(await first) == 2
        assert len(await stream(world, job_id)) == 2
