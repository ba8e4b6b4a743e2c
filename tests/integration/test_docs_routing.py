"""The samples of docs/routing.md and the README's routes: what is copied from there must work."""

import asyncio
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Routes, RoutesError
from tidegate.providers.routes_parse import parse_routes

ROUTING = (ROOT / "docs/routing.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


SMALL, FULL, PRICED, TWO = blocks(ROUTING, "yaml")


@pytest.mark.parametrize("block", [SMALL, FULL, PRICED, TWO, *blocks(README, "yaml")])
def test_every_sample_is_a_routes_file(block: str) -> None:
    assert parse_routes(block, Path("routes.yaml"))


def parsed(block: str) -> Routes:
    return parse_routes(block, Path("/etc/tidegate/routes.yaml"))


def test_the_sample_means_what_its_comments_say() -> None:
    small = parsed(FULL)["small"]
    by_provider = {target.provider: target for target in small.targets}
    assert by_provider["openai"].timeouts.first_token == 20
    assert by_provider["openai"].timeouts.total == 600
    assert by_provider["azure"].api_key_file == Path("/etc/tidegate/keys/azure")
    plan = parsed(FULL).plan("small")
    assert {target.provider for target in plan[:2]} == {"openai", "azure"}
    assert [target.model for target in plan[2:]] == ["qwen/qwen3-8b", "qwen/qwen3-0.6b"]


def test_the_prices_are_known_as_the_page_says() -> None:
    book = PriceBook()
    assert book.version_of(parsed(SMALL).targets[0]) == book.version
    assert book.version_of(parsed(PRICED).targets[0]) == "routes file"


def test_the_error_is_told_as_the_page_shows() -> None:
    (shown,) = blocks(ROUTING, "text")
    text = (
        "providers:\n  openai: {base_url: 'https://api.openai.com/v1'}\nmodels:\n  small:\n"
        "    queue: default\n    targets: [{provider: opnai}]\n"
    )
    with pytest.raises(RoutesError) as refused:
        parse_routes(text, Path("routes.yaml"))
    assert shown == f"error: {refused.value}\n"


async def test_the_check_without_calls_takes_the_sample(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(FULL, encoding="utf-8")
    commands = re.findall(r"^    \.venv/bin/tidegate (.*)$", ROUTING, re.M)
    (offline,) = (shlex.split(command) for command in commands if "--offline" in command)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate.cli", *offline),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": f"{ROOT}/services"},
    )
    async with asyncio.timeout(50):
        _, stderr = await process.communicate()
    assert process.returncode == 0, stderr
    assert b"3 models, 5 targets" in stderr
