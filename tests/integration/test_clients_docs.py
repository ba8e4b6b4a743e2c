"""docs/clients.md as it stands there: what somebody pastes must run, word for word."""

import json
import re

import aiohttp
import pytest

from tests.support.clients import Door, Node
from tests.support.pages import Page, sent_by
from tidegate.contracts.chat import FIELDS
from tidegate.contracts.errors import Reason
from tidegate.contracts.fold import JobError
from tidegate.gateway.openai.errors import ended_badly

pytestmark = pytest.mark.timeout(180)

# Each in a namespace of its own, but in one process: importing the client takes longest.
_RUN_EACH = """
import contextlib, io, json, sys
printed = []
for code in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as told:
        exec(compile(code, "docs/clients.md", "exec"), {"__name__": "__main__"})
    printed.append(told.getvalue())
print(json.dumps(printed))
"""


@pytest.fixture
def page(door: Door) -> Page:
    return Page("docs/clients.md", door, mentions=("gateway HTTP",))


async def test_every_python_sample_runs(page: Page) -> None:
    done = await page.python(_RUN_EACH, stdin=json.dumps(page.blocks("python")).encode())
    assert (done.status, done.stderr) == (0, "")
    whole, gathered, shaped, repeated, origin, batch, caught = json.loads(done.stdout)
    answer, _, streamed = whole.partition("\n")
    assert answer.rpartition(" ")[0] == streamed != ""
    assert [line.endswith(" tokens)") for line in gathered.splitlines()] == [True, True]
    assert shaped.endswith("\n2 256\n")
    assert repeated == "True\n"
    assert origin.rpartition(" ")[2] in {"miss\n", "exact\n", "semantic\n", "coalesced\n"}
    assert batch.endswith("\nbatch\n")
    assert caught == streamed


async def test_every_javascript_sample_runs(page: Page, node_clients: Node) -> None:
    samples = page.blocks("js")
    assert len(samples) == 2
    for number, sample in enumerate(samples):
        script = f"sample{number}.mjs"
        (node_clients.folder / script).write_text(sample, encoding="utf-8")
        assert len(await node_clients.run(script)) > 50


async def test_every_curl_sample_is_answered(page: Page) -> None:
    whole, stream, models = page.blocks("sh")
    async with aiohttp.ClientSession() as session:
        async with session.request(**sent_by(whole)) as response:
            assert response.status == 200
            assert (await response.json())["choices"][0]["message"]["content"]
        async with session.request(**sent_by(stream)) as response:
            assert response.status == 200
            *_, usage, done, _ = (await response.text()).split("\n\n")
            assert json.loads(usage.removeprefix("data: "))["usage"]["total_tokens"] > 0
            assert done == "data: [DONE]"
        async with session.request(**sent_by(models)) as response:
            assert "sim-small" in [each["id"] for each in (await response.json())["data"]]


def test_every_field_that_is_offered_is_named(page: Page) -> None:
    assert [field for field in FIELDS if f"`{field}`" not in page.text] == []


def test_the_table_of_errors_is_true_of_every_bad_end(page: Page) -> None:
    rows = re.findall(r"^\| (\d+) \| `\w+` \| (.*) \| (yes|no) \|$", page.text, re.M)
    told = {
        code: (int(status), repeated == "yes")
        for status, codes, repeated in rows
        for code in re.findall(r"`(\w+)`", codes)
    }
    ends = [each for each in Reason if each.startswith(("PROVIDER_", "CONTE", "CIRCUIT_"))]
    ends += [Reason.ATTEMPTS_EXHAUSTED, Reason.DEADLINE_EXCEEDED, Reason.OUTPUT_TOO_LONG]
    problems = [ended_badly(JobError(each, "", retriable=True), keyed=False) for each in ends]
    assert len(problems) > 10
    for problem in problems:
        assert told[problem.code] == (problem.status, problem.repeat)
