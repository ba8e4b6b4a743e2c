"""A worker's client of the cache, and what it keeps there: what goes wrong is said, and no more."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tests.support.log_world import wait_until
from tests.support.scripted_cache import ScriptedCache, shadow
from tidegate.chassis.component import Deadline
from tidegate.chassis.fleet_key import FleetKey
from tidegate.chassis.tasks import TaskGuard
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.events import Completed, Timings, Usage
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.providers.routes import Target
from tidegate.v1 import cache_pb2 as pb
from tidegate.worker.cache_client import Asked, CacheClient, Missed
from tidegate.worker.lead import Lead
from tidegate.worker.metrics import WorkerCacheMetrics
from tidegate.worker.storing import AnswerKeeping

KEY = "a" * 64
SECRET = "At half past four."


def job(number: int = 0) -> QueuedJob:
    """One of many jobs, each of a request of its own."""
    return QueuedJob(
        id=f"job_{number}",
        tenant="acme",
        key_id="",
        queue="default",
        job_class=JobClass.INTERACTIVE,
        ttl_ms=60_000,
        model="m",
        request_hash="",
        request=msgspec.Raw(b'{"user": "u%d"}' % number),
    )


class Parts:
    """A client of a scripted cache, and what it was given. Its clock stands still."""

    def __init__(self, cache: ScriptedCache) -> None:
        self.cache = cache
        self.guard = TaskGuard()
        self.registry = CollectorRegistry()
        self.metrics = WorkerCacheMetrics(self.registry)
        self.client = CacheClient(
            cache.settings["cache_target"],
            FleetKey.of_file(cache.settings["cache_key_file"]),
            lookup_seconds=5.0,
            store_seconds=5.0,
            guard=self.guard,
            tracing=Tracing(),
            metrics=self.metrics,
            monotonic=lambda: 0.0,
        )

    def stores(self, outcome: str) -> float:
        """Answers of which that became."""
        labels = {"outcome": outcome}
        return self.registry.get_sample_value("tidegate_worker_cache_stores_total", labels) or 0.0


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with ScriptedCache(tmp_path) as cache:
        made = Parts(cache)
        await made.client.start()
        yield made
        await made.client.stop(Deadline(1.0))
        await made.guard.cancel_all()


async def test_a_shadow_is_one_for_who_asked_and_a_miss_for_who_overheard(parts: Parts) -> None:
    """Each of them would pay for a comparison of the same answer."""
    parts.cache.say(shadow("entry-7", KEY))
    parts.cache.answering.clear()
    asking = asyncio.gather(*(parts.client.lookup(job()) for _ in range(5)))
    await parts.cache.until_asked()
    parts.cache.answering.set()
    first, *others = await asking
    assert first == Asked("shadow", Missed(KEY, "entry-7"))
    assert others == [Asked("miss", Missed(KEY))] * 4


async def test_a_wrong_key_is_an_error_and_nobody_goes_on_asking(parts: Parts) -> None:
    """Said as if the cache were away for a moment, an operator would wait for it to come back."""
    parts.cache.refusal = grpc.StatusCode.UNAUTHENTICATED
    with capture_logs() as logs:
        outcomes = [(await parts.client.lookup(job(each))).outcome for each in range(8)]
    assert outcomes == ["error"] * 5 + ["resting"] * 3
    (said,) = [each for each in logs if each["event"] == "the cache is not asked"]
    assert (said["log_level"], said["code"]) == ("error", "UNAUTHENTICATED")


async def test_one_warning_hides_no_other(parts: Parts) -> None:
    """Who reads of lookups alone does not learn that nothing is stored."""
    parts.cache.refusal = grpc.StatusCode.UNAVAILABLE
    with capture_logs() as logs:
        for each in range(2):
            await parts.client.lookup(job(each))
            await parts.client.store(pb.StoreRequest(tenant="acme"))
    said = [(each["event"], each["log_level"]) for each in logs]
    assert said == [
        ("the cache is not asked", "warning"),
        ("an answer could not be stored", "warning"),
    ]


class Led(Lead):
    """A call that has its whole answer; others may lead once it is given up."""

    given_up = False

    def __init__(self) -> None:
        super().__init__(Missed(KEY))
        self.begin(Target("p", "http://x/v1", "large"))

    @property
    def text(self) -> str:
        return SECRET

    def give_up(self) -> None:
        self.given_up = True


@pytest.mark.parametrize(
    ("tokens", "stopped", "why"),
    [
        # A provider may claim what it likes.
        (2**70, False, "ValueError"),
        (3, True, "RuntimeError"),
    ],
)
async def test_an_answer_that_cannot_be_handed_over_ends_nothing_but_itself(
    tokens: int, stopped: bool, why: str, parts: Parts
) -> None:
    """The worker would go with all its jobs, or keep others from asking the same for ever."""
    if stopped:
        await parts.client.stop(Deadline(1.0))
    storing, lead = AnswerKeeping(parts.client, parts.guard, parts.metrics), Led()
    end = Completed(["stop"], Usage(input_tokens=tokens), Timings(1, 2, 3), 7)
    with capture_logs() as logs:
        storing.keep(job(), end, lead)
        await wait_until(lambda: lead.given_up)
    assert parts.stores("failed") == 1
    assert parts.guard.fault is None
    assert [(each["log_level"], each["why"]) for each in logs] == [("error", why)]
    assert SECRET not in str(logs)
