"""A queue's consumers on a real server, made by a gateway and an operator with their own rights."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.support.gateway_world import GatewayWorld
from tests.support.log_world import LogWorld
from tests.support.nats_rights import login, server_with_rights
from tests.support.nats_server import NatsServer
from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.jetstream import STREAM_NOT_FOUND, JetStream, RefusedError
from tidegate.chassis.jetstream_consumers import consumer_info, ensure_consumer
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.settings import NatsSettings
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.queue_consumers import (
    OPERATOR_MARK,
    SCHEMA_KEY,
    consumer_config,
    mark_of,
    operators_change,
)
from tidegate.contracts.subjects import JOBS_STREAM, consumer_name
from tidegate.eventlog.streams import apply_consumers

MARK = "tide/tidegate-operator"
ROUNDS = 20


@asynccontextmanager
async def logged_in(nats: NatsServer, user: str) -> AsyncIterator[JetStream]:
    """A process of a service, with that service's rights; one that is missing is a fault."""
    guard = TaskGuard()
    metrics = ChassisMetrics(CollectorRegistry())
    settings = NatsSettings(**login(nats, user))  # type: ignore[arg-type]
    connection = NatsConnection(settings, Health(), guard, metrics, service=user)
    await connection.start()
    jetstream = JetStream(connection.client)
    await jetstream.start()
    try:
        yield jetstream
    finally:
        await connection.stop(Deadline(1))
        await guard.cancel_all()
        assert guard.fault is None


async def operate(jetstream: JetStream, queue: str) -> list[bool]:
    """What an operator does for a queue."""
    return [
        await ensure_consumer(
            jetstream,
            JOBS_STREAM,
            consumer_name(queue, job_class),
            partial(operators_change, queue, job_class, MARK),
        )
        for job_class in JobClass
    ]


async def info_of(jetstream: JetStream, name: str) -> dict[str, Any]:
    info = await consumer_info(jetstream, JOBS_STREAM, name)
    assert info is not None
    return info


def without_mark(config: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: text for key, text in config["metadata"].items() if key != OPERATOR_MARK}
    return config | {"metadata": metadata}


async def test_a_gateway_takes_the_mark_off_and_changes_nothing_else(tmp_path: Path) -> None:
    """Jobs that wait or run go on as before, and so does what somebody has set by hand."""
    async with (
        server_with_rights(tmp_path) as nats,
        LogWorld(nats.url) as log,
        logged_in(nats, "operator") as operator,
    ):
        for queue in ("default", "nowhere"):
            assert await operate(operator, queue) == [True, True]
            assert await operate(operator, queue) == [False, False]
        before = await info_of(operator, "default-interactive")
        assert mark_of(before["config"]) == MARK
        by_hand = before["config"] | {"description": "ours"}
        await log.jetstream.api(
            "CONSUMER.DURABLE.CREATE.JOBS.default-interactive",
            {"stream_name": "JOBS", "config": by_hand},
        )
        for _ in range(3):
            await log.queue_job()
        taken = await log.client.subscribe("taken")
        taking = "$JS.API.CONSUMER.MSG.NEXT.JOBS.default-interactive"
        await log.client.publish(taking, b'{"batch": 1}', reply="taken")
        await taken.next_msg(timeout=30)
        before = await info_of(operator, "default-interactive")

        async with GatewayWorld(nats, tmp_path, **login(nats, "gateway")):
            after = await info_of(operator, "default-interactive")
            assert mark_of(before["config"]) == MARK
            assert OPERATOR_MARK not in after["config"]["metadata"]
            assert after["config"] == without_mark(before["config"])
            for count in ("num_pending", "num_ack_pending", "delivered"):
                assert after[count] == before[count]
            assert mark_of((await info_of(operator, "default-batch"))["config"]) is None
            # The operator leaves it so, and no gateway has routed to the other.
            assert await operate(operator, "default") == [False, False]
            assert mark_of((await info_of(operator, "default-batch"))["config"]) is None
            assert mark_of((await info_of(operator, "nowhere-batch"))["config"]) == MARK


async def test_a_gateway_that_runs_finds_the_mark_on_one_that_was_made_again(
    tmp_path: Path,
) -> None:
    """A person removed it; the operator was the first to see that."""
    async with (
        server_with_rights(tmp_path) as nats,
        GatewayWorld(nats, tmp_path, **login(nats, "gateway")) as world,
        logged_in(nats, "operator") as operator,
    ):
        for job_class in JobClass:
            name = consumer_name("default", job_class)
            assert mark_of((await info_of(operator, name))["config"]) is None
            await world.peer.jetstream.api(f"CONSUMER.DELETE.JOBS.{name}")
        await operate(operator, "default")
        await operate(operator, "nowhere")
        for job_class in JobClass:
            while mark_of((await info_of(operator, f"default-{job_class}"))["config"]) is not None:
                await asyncio.sleep(0.05)
        assert mark_of((await info_of(operator, "nowhere-batch"))["config"]) == MARK
        # And where nobody else makes it: else its jobs would wait for ever.
        await operator.api("CONSUMER.DELETE.JOBS.default-batch")
        while (await consumer_info(operator, JOBS_STREAM, "default-batch")) is None:
            await asyncio.sleep(0.05)


async def test_makers_at_the_same_time_leave_one_without_a_mark(tmp_path: Path) -> None:
    """Had the operator's come last, a queue with a route would be taken for one without."""
    async with (
        server_with_rights(tmp_path) as nats,
        LogWorld(nats.url) as log,
        logged_in(nats, "operator") as operator,
        logged_in(nats, "operator") as another,
        logged_in(nats, "gateway") as gateway,
        logged_in(nats, "gateway") as twin,
    ):
        queues = [f"q{number}" for number in range(ROUNDS)]
        for number, queue in enumerate(queues):
            makers = [
                operate(operator, queue),
                apply_consumers(gateway, [queue]),
                operate(another, queue),
                apply_consumers(twin, [queue]),
            ]
            turn = number % len(makers)
            await asyncio.gather(*makers[turn:], *makers[:turn])
        for queue in queues:
            for job_class in JobClass:
                found = (await info_of(log.jetstream, consumer_name(queue, job_class)))["config"]
                wanted = consumer_config(queue, job_class)
                assert found["metadata"].items() >= wanted["metadata"].items()
                assert mark_of(found) is None
                for key in wanted.keys() - {"metadata"}:
                    assert found[key] == wanted[key]


@pytest.mark.parametrize("mark", [None, MARK])
async def test_an_operator_brings_an_older_one_up_to_its_schema(
    world: LogWorld, mark: str | None
) -> None:
    older = consumer_config("default", JobClass.BATCH) | {"max_ack_pending": 77}
    older["metadata"] = {SCHEMA_KEY: "0"} | ({} if mark is None else {OPERATOR_MARK: mark})
    create = "CONSUMER.DURABLE.CREATE.JOBS.default-batch"
    await world.jetstream.api(create, {"stream_name": "JOBS", "config": older})
    assert await operate(world.jetstream, "default") == [True, True]
    found = (await info_of(world.jetstream, "default-batch"))["config"]
    assert (found["max_ack_pending"], mark_of(found)) == (10_000, mark)
    assert await operate(world.jetstream, "default") == [False, False]


class Meddling(JetStream):
    """A connection on which somebody else is always quicker by one request, once."""

    def __init__(self, other: JetStream, verb: str, body: dict[str, Any] | None) -> None:
        self._other = other
        self._first: list[tuple[str, dict[str, Any] | None]] = [(verb, body)]

    async def api(self, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if "CREATE" in verb and self._first:
            await self._other.api(*self._first.pop())
        return await self._other.api(verb, body)


async def test_one_that_goes_before_it_is_changed_is_made_anew(world: LogWorld) -> None:
    older = consumer_config("default", JobClass.INTERACTIVE) | {"metadata": {}}
    name = "JOBS.default-interactive"
    create = f"CONSUMER.DURABLE.CREATE.{name}"
    await world.jetstream.api(create, {"stream_name": "JOBS", "config": older})
    quicker = Meddling(world.jetstream, f"CONSUMER.DELETE.{name}", None)
    assert await operate(quicker, "default") == [True, True]
    assert mark_of((await info_of(world.jetstream, "default-interactive"))["config"]) == MARK


async def test_one_that_comes_before_it_is_made_is_looked_at(world: LogWorld) -> None:
    theirs = consumer_config("default", JobClass.INTERACTIVE)
    create = "CONSUMER.DURABLE.CREATE.JOBS.default-interactive"
    quicker = Meddling(world.jetstream, create, {"stream_name": "JOBS", "config": theirs})
    assert await operate(quicker, "default") == [False, True]
    assert mark_of((await info_of(world.jetstream, "default-interactive"))["config"]) is None


async def test_without_its_stream_there_is_no_consumer_to_make(nats_server: NatsServer) -> None:
    async with LogWorld(nats_server.url) as world:
        await world.jetstream.api("STREAM.DELETE.JOBS")
        for doing in (
            operate(world.jetstream, "default"),
            consumer_info(world.jetstream, "JOBS", "default-batch"),
        ):
            with pytest.raises(RefusedError) as caught:
                await doing
            assert caught.value.code == STREAM_NOT_FOUND
