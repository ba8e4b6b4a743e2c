"""What a newcomer would lose in the first minute, and a reader when something dies."""

import asyncio
import json
import os
from pathlib import Path

import aiohttp
import nats
import pytest
from nats.errors import NoRespondersError
from openai import AsyncOpenAI

from tests.support.platform import Finished, Platform
from tidegate.cli.up.plan import password_file

pytestmark = pytest.mark.timeout(180)
_PROMPT = "What is a tide gate?"


async def _simulators_own_answer(platform: Platform, prompt: str, max_tokens: int) -> str:
    url = f"http://127.0.0.1:{platform.port('simulator')}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none") as client:
        answer = await client.chat.completions.create(
            model="sim-small",
            messages=[{"role": "user", "content": prompt}],
            max_tokens=max_tokens,
        )
    return answer.choices[0].message.content or ""


async def test_ask_shows_the_job_the_answer_and_the_figures(platform: Platform) -> None:
    done = await platform.tidegate("ask", "--max-tokens", "20", _PROMPT)
    assert done.status == 0, done.stderr
    assert done.stdout.strip() == await _simulators_own_answer(platform, _PROMPT, 20)
    first, last = done.stderr.splitlines()[0], done.stderr.splitlines()[-1]
    job = first.removeprefix("job=")
    assert last.startswith(f"job={job} ttft=")
    assert last.endswith("tokens=20 cost=unknown cache=miss")

    shown = json.loads((await platform.tidegate("jobs", "get", job)).stdout)
    assert shown["state"] == "completed"
    assert shown["answer"]["text"] == done.stdout.rstrip("\n")
    listed = await platform.tidegate("jobs", "list")
    assert any(job in line and "completed" in line for line in listed.stdout.splitlines())
    again = await platform.tidegate("jobs", "watch", job)
    assert (again.status, again.stdout) == (0, done.stdout)


@pytest.mark.parametrize("service", ["worker", "nats", "gateway", "streaming"])
async def test_a_reader_gets_the_exact_answer_though_one_is_killed(
    platform: Platform, service: str
) -> None:
    prompt = f"{_PROMPT} ({service} is killed)"
    asking = await platform.spawn("ask", "--max-tokens", "160", prompt)
    assert asking.stdout is not None
    beginning = await asking.stdout.read(1)
    await platform.kill(service)
    rest, errors = await asking.communicate()
    assert asking.returncode == 0, errors.decode()
    expected = await _simulators_own_answer(platform, prompt, 160)
    assert (beginning + rest).decode().rstrip("\n") == expected


async def test_a_key_made_now_opens_the_door_for_its_tenant_only(platform: Platform) -> None:
    keys = str(platform.data / "keys.jsonl")
    made = await platform.tidegate("keys", "new", "acme", "--file", keys)
    assert made.status == 0, made.stderr
    key = made.stdout.strip()
    job = (await platform.tidegate("ask", "--max-tokens", "1", "mine")).stderr.split()[0][4:]
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        async with asyncio.timeout(10):
            while True:
                async with session.get(f"{platform.url}/v1/jobs") as response:
                    listed = await response.json()
                    if response.status == 200:
                        break
                await asyncio.sleep(0.05)
        assert listed["jobs"] == []
        async with session.get(f"{platform.url}/v1/jobs/{job}") as response:
            assert response.status == 404


async def test_no_service_can_forge_what_readers_hear(platform: Platform) -> None:
    refused: asyncio.Queue[Exception] = asyncio.Queue()
    for user in ("gateway", "worker", "streaming", "cache"):
        client = await nats.connect(
            f"nats://127.0.0.1:{platform.port('NATS')}",
            user=user,
            password=password_file(platform.data, user).read_text(),
            inbox_prefix=f"_INBOX_{user}",
            error_cb=refused.put,
        )
        await client.publish("live.1.dev.job", b"forged")
        async with asyncio.timeout(10):
            assert "permissions violation" in str(await refused.get()).lower()
        with pytest.raises((TimeoutError, NoRespondersError)):
            await client.request("$JS.API.STREAM.DELETE.EVENTS", b"", timeout=0.5)
        await client.close()


async def test_a_second_platform_on_the_same_ports_says_so_in_one_line(
    platform: Platform, tmp_path: Path
) -> None:
    second = Platform(tmp_path, offset=platform.offset)
    done = await second.tidegate(
        *("up", "--data", str(second.data), "--port-offset", str(second.offset))
    )
    assert done.status == 1
    assert "is taken" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_a_second_platform_in_the_same_directory_is_refused(platform: Platform) -> None:
    done = await platform.tidegate("up", "--data", str(platform.data))
    assert done.status == 1
    assert "already runs" in done.stderr


async def test_ctrl_c_drains_and_jobs_outlive_a_restart(tmp_path: Path) -> None:
    patient = {"TIDEGATE_CACHE_LOOKUP_SECONDS": "5"}
    async with Platform(tmp_path, settings=patient) as platform:
        done = await platform.tidegate("ask", _PROMPT)
        job = _job_of(done)
        # A worker that began before the cache finds it within two seconds.
        while "cache=exact" not in (again := await platform.tidegate("ask", _PROMPT)).stderr:
            assert again.status == 0, again.stderr
        services = ("nats", "gateway", "worker", "streaming", "cache")
        pids = [platform.pid_of(name) for name in services]
        assert await platform.stop() == 0
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        platform.log.unlink()
        await platform.start()
        watched = await platform.tidegate("jobs", "watch", job)
        assert watched.stdout == done.stdout
        kept = await platform.tidegate("cache", "stats")
        assert kept.stdout.startswith("entries    1, "), kept
        table = platform.log.read_text(encoding="utf-8")
        assert f"  cache      127.0.0.1:{platform.port('cache gRPC')}" in table


async def test_a_platform_without_the_cache_says_so_and_asks_the_model(platform: Platform) -> None:
    for _ in range(2):
        done = await platform.tidegate("ask", "Who asks twice?")
        assert done.stderr.endswith("cache=miss\n")
    assert platform.pids_of("cache") == []
    assert "  cache      off" in platform.log.read_text(encoding="utf-8")
    stats = await platform.tidegate("cache", "stats")
    assert (stats.status, stats.stderr) == (
        1,
        "error: the cache is off: TIDEGATE_CACHE_TARGET is not set (cache_off)\n",
    )


async def test_an_answer_of_nobody_there_is_one_line(tmp_path: Path) -> None:
    done = await Platform(tmp_path).tidegate("ask", _PROMPT)
    assert done.status == 1
    assert "is the platform up?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _job_of(done: Finished) -> str:
    assert done.status == 0, done.stderr
    return done.stderr.splitlines()[0].removeprefix("job=")
