"""From an empty cluster to an answer: what a platform team sees on its first day."""

import time

import aiohttp
import pytest

from tests.bed.cluster import Cluster
from tests.chaos.crowd import Crowd, crowd_at
from tests.chaos.plan import Surface
from tests.e2e.installation import RELEASE, Installation
from tests.e2e.questions import complaints_of, plan

_QUESTION = "What is a tide gate?"


async def cached(crowd: Crowd, question: str) -> bool:
    """Whether a question that is asked again is answered by the cache.

    It may take a few times: on a busy machine a lookup may come too late, which is a miss.
    """
    for number in range(20, 26):
        (told,) = await crowd.ask([plan(number, Surface.SSE, question)])
        starts = [each for each in told.frames.values() if each["type"] == "attempt_started"]
        if [start["cache"]["tier"] for start in starts] == ["exact"]:
            return True
    return False


@pytest.mark.timeout(900)
async def test_a_first_install_answers_on_every_surface_and_leaves_nothing_behind(
    node: Cluster, node_namespace: str, image: str
) -> None:
    async with Installation(node, node_namespace, image) as tidegate:
        began = time.monotonic()
        notes = await tidegate.install()
        ready = time.monotonic() - began
        assert f"{RELEASE}-secrets" in notes
        doors = await tidegate.doors()
        async with crowd_at(doors) as crowd:
            first = await crowd.ask([plan(0, Surface.SSE, _QUESTION)])
            print(f"ready after {ready:.1f} s, answered after {time.monotonic() - began:.1f} s")
            assert complaints_of(first) == []
            surfaces = list(Surface)
            tolds = await crowd.ask(
                [
                    plan(number, each, f"{_QUESTION} {number}")
                    for number, each in enumerate(surfaces, 1)
                ]
            )
            assert complaints_of(tolds) == []
            assert all(told.job_id for told in tolds)
            assert await cached(crowd, "When is high tide on Sunday?")
        await tidegate.helm("test", RELEASE)


@pytest.mark.timeout(900)
async def test_the_commands_of_a_pod_answer(node: Cluster, node_namespace: str, image: str) -> None:
    """`kubectl exec` is what a person with nothing installed has."""
    async with Installation(node, node_namespace, image) as tidegate:
        await tidegate.install("--set", "cache.enabled=false")
        key = await tidegate.secret("api-key")
        said = await tidegate.kubectl(
            *("exec", f"deployment/{RELEASE}-gateway", "--"),
            *("env", f"TIDEGATE_API_KEY={key}", "tidegate", "ask", "--max-tokens", "5", _QUESTION),
        )
        assert len(said.split()) == 5
        url = f"http://{await tidegate.address('gateway', 8080)}/v1/stats"
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
            session.get(url) as answer,
        ):
            assert answer.status == 200
