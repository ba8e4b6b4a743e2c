"""The streams: made once, migrated forwards, never undone by an older release."""

from typing import Any

import pytest

from tests.support.log_world import LogPeer, connected
from tests.support.nats_server import NatsServer
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.queue_consumers import consumer_config
from tidegate.eventlog.streams import (
    StreamOptions,
    apply_consumers,
    apply_streams,
    consumer_exists,
    stream_configs,
    streams_exist,
)

ALL = ["JOBS", "EVENTS", "CONTROL", "DLQ", "KV_tidegate_breakers", "RECENT", "FLIGHTS", "HONESTY"]
CONSUMERS = ["default-interactive", "default-batch"]


async def config_of(peer: LogPeer, stream: str) -> dict[str, Any]:
    info: dict[str, Any] = (await peer.jetstream.api(f"STREAM.INFO.{stream}"))["config"]
    return info


async def test_the_step_can_be_repeated_and_changes_nothing(nats_server: NatsServer) -> None:
    """Every gateway takes it at every start; a stream that each start rewrites never settles."""
    async with connected(nats_server.url) as peer:
        assert not await streams_exist(peer.jetstream)
        assert await apply_streams(peer.jetstream, StreamOptions()) == ALL
        assert await apply_streams(peer.jetstream, StreamOptions()) == []
        assert await streams_exist(peer.jetstream)
        assert not await consumer_exists(peer.jetstream, "default", JobClass.BATCH)
        assert await apply_consumers(peer.jetstream, ["default"]) == CONSUMERS
        assert await apply_consumers(peer.jetstream, ["default"]) == []
        assert await consumer_exists(peer.jetstream, "default", JobClass.BATCH)


async def test_the_server_keeps_what_it_was_told(nats_server: NatsServer) -> None:
    """A setting that the server drops in silence would only be missed when jobs are lost."""
    async with connected(nats_server.url) as peer:
        await apply_streams(peer.jetstream, StreamOptions(max_jobs=7, max_jobs_bytes=10_000_000))
        for wanted in stream_configs(StreamOptions(max_jobs=7, max_jobs_bytes=10_000_000)):
            found = await config_of(peer, wanted["name"])
            assert {key: found[key] for key in wanted if key != "metadata"} == {
                key: value for key, value in wanted.items() if key != "metadata"
            }
            assert found["metadata"].items() >= wanted["metadata"].items()


async def test_other_bounds_are_applied_to_streams_that_exist(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as peer:
        await apply_streams(peer.jetstream, StreamOptions())
        assert await apply_streams(peer.jetstream, StreamOptions(max_jobs=5)) == ["JOBS"]
        assert (await config_of(peer, "JOBS"))["max_msgs"] == 5


@pytest.mark.parametrize("number", range(len(ALL)))
async def test_a_rollback_does_not_undo_a_migration(nats_server: NatsServer, number: int) -> None:
    """The newer release still runs beside the older one, and needs what it has made."""
    async with connected(nats_server.url) as peer:
        await apply_streams(peer.jetstream, StreamOptions())
        newer = stream_configs(StreamOptions())[number] | {
            "metadata": {"tidegate.schema": "2"},
            "max_msg_size": 123_456,
        }
        await peer.jetstream.api(f"STREAM.UPDATE.{newer['name']}", newer)
        assert await apply_streams(peer.jetstream, StreamOptions(max_jobs=5)) == (
            [] if newer["name"] == "JOBS" else ["JOBS"]
        )
        assert (await config_of(peer, newer["name"]))["max_msg_size"] == 123_456


async def test_a_rollback_does_not_undo_a_consumers_migration(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as peer:
        await apply_streams(peer.jetstream, StreamOptions())
        newer = consumer_config("default", JobClass.BATCH) | {
            "metadata": {"tidegate.schema": "2"},
            "max_ack_pending": 77,
        }
        await peer.jetstream.api(
            "CONSUMER.DURABLE.CREATE.JOBS.default-batch", {"stream_name": "JOBS", "config": newer}
        )
        assert await apply_consumers(peer.jetstream, ["default"]) == ["default-interactive"]
        info = await peer.jetstream.api("CONSUMER.INFO.JOBS.default-batch")
        assert info["config"]["max_ack_pending"] == 77


async def test_a_stream_made_by_hand_is_brought_into_order(nats_server: NatsServer) -> None:
    """Without republishing no client would ever see a token."""
    async with connected(nats_server.url) as peer:
        by_hand = {"name": "EVENTS", "subjects": ["events.*.*.*"], "allow_direct": True}
        await peer.jetstream.api("STREAM.CREATE.EVENTS", by_hand)
        assert await apply_streams(peer.jetstream, StreamOptions()) == ALL
        assert (await config_of(peer, "EVENTS"))["republish"]["src"] == "events.*.*.*"
