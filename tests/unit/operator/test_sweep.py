"""Consumers that no pool needs any more: deleting one too many makes a queue's jobs wait."""

from typing import Any, cast

import pytest

from tidegate.chassis.jetstream import CONSUMER_NOT_FOUND, JetStream, RefusedError
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.queue_consumers import OPERATOR_MARK, consumer_config
from tidegate.contracts.subjects import consumer_name
from tidegate_operator.sweep import orphans, sweep_consumers

OURS = "ns/tidegate-operator"


def info(queue: str, mark: str | None = OURS, *, pending: int = 0, held: int = 0) -> dict[str, Any]:
    config = consumer_config(queue, JobClass.BATCH)
    metadata = {**config.get("metadata", {}), **({OPERATOR_MARK: mark} if mark else {})}
    return {
        "name": consumer_name(queue, JobClass.BATCH.value),
        "config": config | {"metadata": metadata},
        "num_pending": pending,
        "num_ack_pending": held,
    }


def name(queue: str) -> str:
    return consumer_name(queue, JobClass.BATCH.value)


def test_ours_without_a_pool_and_without_a_job_is_one() -> None:
    assert orphans([info("chat"), info("code")], {"code"}, OURS) == [name("chat")]


@pytest.mark.parametrize(
    "kept",
    [
        info("chat", None),
        info("chat", "other/tidegate-operator"),
        info("chat", pending=1),
        info("chat", held=1),
    ],
)
def test_a_gateways_anothers_and_one_with_jobs_stay(kept: dict[str, Any]) -> None:
    assert orphans([kept], set(), OURS) == []


class Stream:
    """A JetStream that lists so many at a time, and remembers what was deleted."""

    def __init__(self, *infos: dict[str, Any], page: int = 2) -> None:
        self.infos = list(infos)
        self.page = page
        # What a consumer is by the time that it is asked for alone.
        self.by_now: dict[str, dict[str, Any]] = {each["name"]: each for each in infos}
        self.deleted: list[str] = []

    async def api(self, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if verb.startswith("CONSUMER.LIST"):
            begin = (body or {})["offset"]
            return {"consumers": self.infos[begin : begin + self.page], "total": len(self.infos)}
        asked = verb.rpartition(".")[2]
        if asked == name("vanished") or (asked == name("late") and "DELETE" in verb):
            raise RefusedError(CONSUMER_NOT_FOUND, "consumer not found", 404)
        if verb.startswith("CONSUMER.INFO"):
            return self.by_now[asked]
        self.deleted.append(asked)
        return {}


async def sweep(stream: Stream, *queues: str, leads: bool = True) -> None:
    jetstream = cast(JetStream, stream)
    await sweep_consumers(jetstream, lambda: set(queues), OURS, leads=lambda: leads)


async def test_all_pages_are_swept_and_one_that_has_gone_already_is_no_fault() -> None:
    stream = Stream(*(info(queue) for queue in ("a", "vanished", "late", "b", "c", "d")))
    await sweep(stream, "c")
    assert stream.deleted == [name("a"), name("b"), name("d")]


async def test_who_leads_no_more_deletes_nothing() -> None:
    """What it takes for all pools may be an hour old."""
    stream = Stream(info("chat"))
    await sweep(stream, leads=False)
    assert stream.deleted == []


@pytest.mark.parametrize("by_now", [info("a", None), info("a", pending=1), info("a", held=1)])
async def test_what_a_gateway_or_a_job_came_to_since_the_listing_stays(
    by_now: dict[str, Any],
) -> None:
    stream = Stream(info("a"), info("b"))
    stream.by_now[name("a")] = by_now
    await sweep(stream)
    assert stream.deleted == [name("b")]


class Turning(Stream):
    """Something happens once a consumer was asked for."""

    def __init__(self, *infos: dict[str, Any]) -> None:
        super().__init__(*infos)
        self.queues: set[str] = set()
        self.leads = True
        self.loses = False

    async def api(self, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if verb.startswith("CONSUMER.INFO"):
            self.queues = {"a"}
            self.leads = not self.loses
        return await super().api(verb, body)


@pytest.mark.parametrize(("loses", "deleted"), [(False, [name("b")]), (True, [])])
async def test_a_pool_or_a_leader_that_comes_at_the_last_moment_is_heeded(
    loses: bool, deleted: list[str]
) -> None:
    stream = Turning(info("a"), info("b"))
    stream.loses = loses
    jetstream = cast(JetStream, stream)
    await sweep_consumers(jetstream, lambda: stream.queues, OURS, leads=lambda: stream.leads)
    assert stream.deleted == deleted
