"""The README's samples as they stand there: what a newcomer copies must work, word for word."""

import json
import re
import shlex
from typing import Any

import aiohttp
import pytest

from tests.support.pages import Page, sent_by
from tests.support.platform import Platform

pytestmark = pytest.mark.timeout(120)
Events = list[dict[str, Any]]


class Samples(Page):
    """What the README has to copy."""

    def __init__(self, platform: Platform) -> None:
        super().__init__("README.md", platform)
        self.over_grpc, self.over_websocket = self.blocks("python")
        self.create, self.follow = self.commands("curl ")
        self.known = [
            shlex.split(line)
            for line in re.findall(r"^    \.venv/bin/tidegate (.*)$", self.text, re.M)
        ]

    async def finished_job(self) -> tuple[str, Events]:
        """Creates a job and reads its events to the end, as the two curl commands do."""
        async with aiohttp.ClientSession() as session:
            async with session.request(**sent_by(self.create)) as response:
                assert response.status == 202
                job_id: str = (await response.json())["id"]
            follow = self.follow.replace("$JOB", job_id)
            async with session.request(**sent_by(follow)) as response:
                assert response.status == 200
                lines = (await response.text()).splitlines()
        return job_id, [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


@pytest.fixture
def samples(platform: Platform) -> Samples:
    return Samples(platform)


def text_of(events: Events) -> str:
    return "".join(event["data"] for event in events if event["type"] == "delta")


async def test_the_http_samples_create_a_job_and_show_its_events(
    platform: Platform, samples: Samples
) -> None:
    job_id, events = await samples.finished_job()
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "completed"
    shown = json.loads((await platform.tidegate("jobs", "get", job_id)).stdout)
    assert text_of(events) == shown["answer"]["text"] != ""


async def test_the_grpc_sample_prints_the_answer_that_ask_prints(
    platform: Platform, samples: Samples
) -> None:
    asked = await platform.tidegate(*samples.known[0])
    assert (asked.status, samples.known[0][0]) == (0, "ask")
    done = await samples.python(samples.over_grpc)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout == asked.stdout.rstrip("\n") != ""


async def test_the_websocket_sample_goes_on_from_any_sequence_and_returns(
    samples: Samples,
) -> None:
    """From the last one too, behind which nothing comes but word that the job has ended."""
    job_id, events = await samples.finished_job()
    printed = [f"{each['sequence']} {each['type']} {each.get('data', '')}" for each in events]
    last = len(events)
    for after, lines in [(0, printed), (5, printed[5:]), (last, [f"{last} ended "])]:
        done = await samples.python(samples.over_websocket, job_id, str(after))
        assert (done.status, done.stderr) == (0, "")
        assert done.stdout.splitlines() == lines


async def test_the_websocket_sample_says_what_is_wrong_and_returns(samples: Samples) -> None:
    done = await samples.python(samples.over_websocket, "job_none", "0")
    assert (done.status, done.stderr) == (0, "")
    assert "error" in done.stdout


async def test_the_commands_to_look_around_work(platform: Platform, samples: Samples) -> None:
    job_id, events = await samples.finished_job()
    looks = [
        [job_id if word == "$JOB" else word for word in command]
        for command in samples.known
        if command[0] == "jobs"
    ]
    assert [look[1] for look in looks] == ["list", "get", "watch", "cancel"]
    told = [await platform.tidegate(*look) for look in looks]
    assert [each.status for each in told] == [0] * len(looks), told
    assert job_id in told[0].stdout
    assert told[2].stdout.rstrip("\n") == text_of(events)
