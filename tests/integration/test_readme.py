"""The README's samples as they stand there: what a newcomer copies must work, word for word."""

import argparse
import asyncio
import json
import re
import shlex
import sys
from typing import Any

import aiohttp
import pytest

from tests.support.platform import Finished, Platform
from tests.support.processes import ROOT
from tidegate.cli.up.plan import PORTS

pytestmark = pytest.mark.timeout(120)
_CALLED = ("gateway HTTP", "gateway gRPC", "streaming WebSocket", "streaming SSE")
Events = list[dict[str, Any]]


class Samples:
    """What the README has to copy, with the platform's addresses in place of the usual ones."""

    def __init__(self, platform: Platform) -> None:
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        for name in _CALLED:
            usual, moved = (f"127.0.0.1:{port}" for port in (PORTS[name], platform.port(name)))
            assert usual in text
            text = text.replace(usual, moved)
        self.over_grpc, self.over_websocket = re.findall(
            r"^```python\n(.*?)^```$", text, re.S | re.M
        )
        self.create, self.follow = re.findall(r"^    (curl (?:.*\\\n)*.*)$", text, re.M)
        self.commands = [
            shlex.split(line) for line in re.findall(r"^    \.venv/bin/tidegate (.*)$", text, re.M)
        ]
        self._platform = platform

    async def python(self, code: str, *arguments: str) -> Finished:
        """Runs a block of Python to its end. Raises TimeoutError if there is none."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._platform.environment,
        )
        try:
            async with asyncio.timeout(30):
                stdout, stderr = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return Finished(process.returncode or 0, stdout.decode(), stderr.decode())

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


def sent_by(command: str) -> dict[str, Any]:
    """What curl would send, as arguments of `ClientSession.request`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-H", dest="headers", action="append")
    parser.add_argument("-d", dest="data")
    parser.add_argument("-N", action="store_true")
    curl = parser.parse_args(shlex.split(command.replace("\\\n", ""))[1:])
    headers = dict(header.split(": ") for header in curl.headers)
    if curl.data is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    method = "GET" if curl.data is None else "POST"
    return {"method": method, "url": curl.url, "headers": headers, "data": curl.data}


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
    asked = await platform.tidegate(*samples.commands[0])
    assert (asked.status, samples.commands[0][0]) == (0, "ask")
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
        for command in samples.commands
        if command[0] == "jobs"
    ]
    assert [look[1] for look in looks] == ["list", "get", "watch", "cancel"]
    told = [await platform.tidegate(*look) for look in looks]
    assert [each.status for each in told] == [0] * len(looks), told
    assert job_id in told[0].stdout
    assert told[2].stdout.rstrip("\n") == text_of(events)
