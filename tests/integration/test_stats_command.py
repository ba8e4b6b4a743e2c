"""`tidegate stats` as an operator runs it, on a platform with the permissions of a real one."""

import asyncio
import json
import signal

import aiohttp

from tests.support.platform import Platform

SECONDS = 40.0


async def asked(platform: Platform, times: int = 1) -> None:
    for _ in range(times):
        done = await platform.tidegate("ask", "--max-tokens", "3", "When", "does", "it", "turn?")
        assert done.status == 0, done.stderr


async def test_the_four_figures_are_told_of_all_workers(platform: Platform) -> None:
    await asked(platform, 2)
    done = await platform.tidegate("stats")
    assert done.status == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2 workers, up for ")
    figures = [line.split("  ")[0] for line in lines[3:7]]
    assert figures == ["response p95", "cache hits", "queue depth", "cost, mean"]
    assert "sim-small" in done.stdout
    assert "\x1b" not in done.stdout


async def test_programs_get_the_same_as_json(platform: Platform) -> None:
    await asked(platform)
    done = await platform.tidegate("stats", "--json")
    stats = json.loads(done.stdout)
    assert len(stats["processes"]) == 2
    assert stats["all"]["response"]["count"] >= 1
    assert "snapshots" not in stats


async def test_watching_shows_the_moment_and_ends_with_ctrl_c(platform: Platform) -> None:
    process = await platform.spawn("stats", "--watch", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        first = json.loads(await process.stdout.readline())
        assert (first["seconds"], first["lately"]) == (None, None)
        await asked(platform)
        frame, lately = first, 0
        while not lately:
            frame = json.loads(await process.stdout.readline())
            assert frame["seconds"] > 0
            lately = frame["lately"]["all"]["response"]["count"]
        assert lately == 1
        assert frame["since_start"]["all"]["response"]["count"] > lately - 1
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def status_with(platform: Platform, key: str) -> int:
    """How GET /v1/stats is answered, once the gateway has read the key."""
    headers = {"Authorization": f"Bearer {key}"}
    async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{platform.url}/v1/stats", headers=headers) as response:
                if response.status != 401:
                    return response.status
            await asyncio.sleep(0.05)


async def test_a_key_is_an_operators_only_if_it_was_made_one(platform: Platform) -> None:
    new = ("keys", "new", "acme", "--file", str(platform.data / "keys.jsonl"))
    plain = (await platform.tidegate(*new)).stdout.strip()
    operator = (await platform.tidegate(*new, "--operator")).stdout.strip()
    assert await status_with(platform, plain) == 403
    assert await status_with(platform, operator) == 200
