"""`tidegate routes check`: tells a good target from a bad one, by one call each, and no key."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.platform import Finished
from tests.support.ports import free_port
from tests.support.simulated import SimulatedProvider

KEY = "sk-hunter2"
REFUSING = "sk-wrong9"


async def check(*arguments: str | Path, **environ: str) -> Finished:
    """The command, to its end; its environment has no setting but the given ones."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEGATE_", "OPENAI_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate.cli", "routes", "check", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | environ,
    )
    async with asyncio.timeout(50):
        stdout, stderr = await process.communicate()
    finished = Finished(process.returncode or 0, stdout.decode(), stderr.decode())
    for secret in (KEY, REFUSING):
        assert secret not in finished.stdout + finished.stderr
    return finished


def rows(finished: Finished) -> list[list[str]]:
    """The table's cells, without its head."""
    return [re.split(r"\s{2,}", line) for line in finished.stdout.splitlines()[1:]]


def write(path: Path, url: str, models: str, more_providers: str = "") -> Path:
    (path / "routes.yaml").write_text(
        "providers:\n"
        f"  good: {{base_url: '{url}/v1', api_key_env: GOOD_KEY}}\n"
        f"  bad: {{base_url: '{url}/v1', api_key_env: BAD_KEY}}\n"
        f"{more_providers}"
        f"models:\n{models}",
        encoding="utf-8",
    )
    return path / "routes.yaml"


async def test_every_target_is_called_once_and_has_its_row(tmp_path: Path) -> None:
    models = (
        "  small:\n"
        "    queue: default\n"
        "    targets:\n"
        "      - {provider: good, model: sim-small, price: {input: 1, output: 2}}\n"
        "      - {provider: good, model: sim-large}\n"
        "  same: {queue: default, targets: [{provider: good, model: sim-large}]}\n"
        "  vectors: {kind: embeddings, targets: [{provider: good, model: sim-embedding}]}\n"
    )
    settings = {"api_key": KEY, "models": "sim-small,sim-large"}
    async with SimulatedProvider(**settings) as provider:
        file = write(tmp_path, provider.url, models)
        finished = await check(file, GOOD_KEY=KEY)
        assert finished.status == 0, finished
        table = rows(finished)
        assert [row[:3] for row in table] == [
            ["small", "good", "sim-small"],
            ["small", "good", "sim-large"],
            ["same", "good", "sim-large"],
            ["vectors", "good", "sim-embedding"],
        ]
        assert [row[3] for row in table] == ["routes file", "unknown", "unknown", "unknown"]
        assert all(re.fullmatch(r"\d+\.\d\d s", row[4]) for row in table)
        assert {row[5] for row in table} == {"ok"}
        assert "3 models, 3 targets; 3 of 3 calls answered" in finished.stderr
        calls = (await provider.stats())["calls"]
        assert sorted(call["model"] for call in calls) == [
            "sim-embedding", "sim-large", "sim-small",
        ]  # fmt: skip


async def test_what_does_not_answer_is_named_with_its_reason(tmp_path: Path) -> None:
    more = (
        f"  away: {{base_url: 'http://127.0.0.1:{free_port()}/v1'}}\n"
        "  keyless: {base_url: 'http://127.0.0.1:1/v1', api_key_file: missing}\n"
    )
    models = (
        "  small:\n"
        "    queue: default\n"
        "    targets:\n"
        "      - {provider: good, model: sim-small}\n"
        "      - {provider: bad, model: sim-small}\n"
        "      - {provider: good, model: nobody}\n"
        "      - {provider: away}\n"
        "      - {provider: keyless}\n"
    )
    async with SimulatedProvider(api_key=KEY) as provider:
        file = write(tmp_path, provider.url, models, more)
        finished = await check(file, GOOD_KEY=KEY, BAD_KEY=REFUSING)
    assert finished.status == 1
    results = [row[5] for row in rows(finished)]
    assert results[0] == "ok"
    assert results[1].startswith("PROVIDER_CREDENTIALS: ")
    assert "401" in results[1]
    assert results[2].startswith("PROVIDER_MISCONFIGURED: ")
    assert results[3] == "PROVIDER_UNAVAILABLE: the provider cannot be reached"
    assert "line 5: providers.keyless.api_key_file: " in results[4]
    assert "1 of 5 calls answered" in finished.stderr


async def test_a_model_that_wants_the_newer_bound_is_asked_with_that(tmp_path: Path) -> None:
    """Some models refuse `max_tokens`; others know nothing else. And some tell no usage."""
    seen: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        seen.append(body)
        if "max_tokens" in body:
            error = {"code": "unsupported_parameter", "param": "max_tokens", "type": "invalid"}
            return web.json_response({"error": error | {"message": body["model"]}}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunk = b'{"choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"length"}]}'
        await response.write(b"data: " + chunk + b"\n\ndata: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", free_port())
    await site.start()
    try:
        models = "  m: {queue: default, targets: [{provider: good}]}\n"
        finished = await check(write(tmp_path, site.name, models), GOOD_KEY=KEY)
    finally:
        await runner.cleanup()
    assert finished.status == 0, finished
    assert rows(finished)[0][5] == "ok, but no usage is told: tokens will be estimated"
    assert [body.get("max_completion_tokens") for body in seen] == [None, 1]


async def test_offline_calls_nobody_and_the_file_is_found_by_the_setting(tmp_path: Path) -> None:
    models = "  m: {queue: default, targets: [{provider: good}]}\n"
    async with SimulatedProvider() as provider:
        file = write(tmp_path, provider.url, models)
        finished = await check("--offline", TIDEGATE_ROUTES_FILE=str(file))
        assert finished.status == 0, finished
        assert "1 model, 1 target; the form is good" in finished.stderr
        assert (await provider.stats())["started"] == 0


@pytest.mark.parametrize("option", [(), ("--offline",)])
async def test_a_bad_file_is_told_by_its_line(tmp_path: Path, option: tuple[str, ...]) -> None:
    file = write(tmp_path, "http://p", "  m: {queue: default, targets: [{provider: goood}]}\n")
    finished = await check(file, *option)
    assert finished.status == 1
    assert finished.stdout == ""
    assert "line 5: models.m.targets[0].provider: " in finished.stderr
    assert "defined there: good, bad" in finished.stderr
    finished = await check(tmp_path / "missing.yaml", *option)
    assert finished.status == 1
    assert "cannot be read" in finished.stderr
