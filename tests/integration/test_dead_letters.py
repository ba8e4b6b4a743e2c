"""Dead letters: what failed for good is seen, repeated once and not twice, and removed."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.dead_letters import WHY, fail, letter_of, put
from tests.support.gateway_world import CHAT, GatewayWorld, until
from tests.support.log_world import completed
from tests.support.nats_server import NatsServer
from tests.support.processes import ROOT
from tidegate.contracts.dead_letter import DeadLetter
from tidegate.contracts.jobs import JobClass, hash_request, new_job_id
from tidegate.contracts.subjects import DLQ_STREAM, dead_letter_subject

Json = dict[str, Any]


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[GatewayWorld]:
    async with GatewayWorld(nats_server, tmp_path) as world:
        yield world


async def ask(
    world: GatewayWorld, method: str, path: str = "", *, key: str | None = None
) -> tuple[int, Json]:
    """Status and body of a call, as `acme` or with another key."""
    async with (
        world.client(world.gateway, key or world.key) as client,
        client.request(method, f"/v1/dead-letters{path}") as response,
    ):
        body: Json = await response.json() if response.content_length else {}
        return response.status, body


async def listed(world: GatewayWorld, key: str | None = None) -> list[str]:
    """The jobs of all pages, one letter to a page."""
    ids: list[str] = []
    token = ""
    while True:
        status, page = await ask(world, "GET", f"?page_size=1&page_token={token}", key=key)
        assert status == 200
        ids += [letter["job_id"] for letter in page["dead_letters"]]
        token = page["next_page_token"]
        if token is None:
            return ids


async def kept(world: GatewayWorld) -> int:
    """Dead letters of all tenants."""
    return int((await world.peer.jetstream.api(f"STREAM.INFO.{DLQ_STREAM}"))["state"]["messages"])


async def accepted(world: GatewayWorld) -> bool:
    """Whether there is room for one more job, as the gateway counts; it is taken."""
    async with world.http.post("/v1/jobs", json={"request": CHAT}) as response:
        return response.status == 202


def not_found(answer: tuple[int, Json]) -> bool:
    status, body = answer
    return status == 404 and body["error"]["code"] == "dead_letter_not_found"


async def test_a_letter_tells_why_and_keeps_the_prompt_to_itself(world: GatewayWorld) -> None:
    letter = await fail(world, ttl_s=90, **{"class": "batch"})
    status, shown = await ask(world, "GET", f"/{letter.job.id}")
    assert status == 200
    assert shown == {
        "job_id": letter.job.id,
        "reason": "PROVIDER_UNAVAILABLE",
        "message": WHY,
        "retriable": True,
        "attempts": 3,
        "model": "sim-1",
        "class": "batch",
        "queue": "default",
        "ttl_s": 90,
        "created_at": letter.created_ms / 1000,
        "failed_at": letter.failed_ms / 1000,
        "replay_of": None,
    }
    assert await ask(world, "GET") == (200, {"dead_letters": [shown], "next_page_token": None})
    status, whole = await ask(world, "GET", f"/{letter.job.id}?request=true")
    assert (status, whole.pop("request")) == (200, CHAT)
    assert whole == shown


async def test_letters_are_listed_oldest_first_page_by_page(world: GatewayWorld) -> None:
    letters = [await fail(world) for _ in range(3)]
    assert await listed(world) == [letter.job.id for letter in letters]
    for query in ("?page_size=201", "?page_size=x", "?page_token=nonsense", "?colour=red"):
        status, body = await ask(world, "GET", query)
        assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    async with world.http.get("/v1/jobs?page_size=1") as response:
        token = (await response.json())["next_page_token"]
    assert (await ask(world, "GET", f"?page_token={token}"))[0] == 400


async def test_a_strangers_letter_is_not_there(world: GatewayWorld) -> None:
    letter = await fail(world)
    for job_id in (letter.job.id, new_job_id(), "nonsense", "job_*", "*"):
        key = world.stranger if job_id == letter.job.id else world.key
        for method, verb in [("GET", ""), ("POST", "/replay"), ("DELETE", "")]:
            assert not_found(await ask(world, method, f"/{job_id}{verb}", key=key))
    assert await listed(world, world.stranger) == []
    assert await ask(world, "DELETE", key=world.stranger) == (200, {"purged": 0})
    assert await listed(world) == [letter.job.id]


@pytest.mark.parametrize("job_class", ["interactive", "batch"])
async def test_a_replay_asks_the_same_once_more(world: GatewayWorld, job_class: str) -> None:
    """As batch, or it would fail once more while its provider's breaker is open yet."""
    letter = await fail(world, ttl_s=90, on_disconnect="cancel", **{"class": job_class})
    status, job = await ask(world, "POST", f"/{letter.job.id}/replay")
    assert status == 202
    assert (job["state"], job["replay_of"], job["class"]) == ("queued", letter.job.id, "batch")
    assert job["deadline"] - job["created_at"] == pytest.approx(90)
    again = await world.queued(job["id"])
    assert bytes(again.request) == bytes(letter.job.request)
    assert again.queue == letter.job.queue
    assert again.request_hash == hash_request(JobClass.BATCH, bytes(letter.job.request))
    assert again.on_disconnect == "detach"
    assert not_found(await ask(world, "GET", f"/{letter.job.id}"))
    await (await world.worker_plays(job["id"])).seal(completed())
    assert (await world.get(job["id"]))["state"] == "completed"


async def test_however_often_a_letter_is_replayed_there_is_one_job(world: GatewayWorld) -> None:
    letter = await fail(world)
    path = f"/{letter.job.id}/replay"
    answers = await asyncio.gather(*(ask(world, "POST", path) for _ in range(5)))
    ids = {job["id"] for _, job in answers}
    assert {status for status, _ in answers} == {202}
    # One whose answer was lost asks again, although the letter has gone.
    assert await kept(world) == 0
    ids.add((await ask(world, "POST", path))[1]["id"])
    assert len(ids) == 1
    assert await world.waiting() == 1


async def test_a_gateway_that_dies_between_the_two_steps_leaves_one_job(
    world: GatewayWorld,
) -> None:
    letter = await fail(world)
    _, job = await ask(world, "POST", f"/{letter.job.id}/replay")
    await (await world.worker_plays(job["id"])).seal(completed())
    # As if the letter had not been removed yet; or its worker wrote it once more.
    await put(world, letter)
    status, repeated = await ask(world, "POST", f"/{letter.job.id}/replay")
    assert (status, repeated["id"], repeated["state"]) == (202, job["id"], "completed")
    assert await kept(world) == 0


async def test_a_removed_letter_is_not_replayed(world: GatewayWorld) -> None:
    letter = await fail(world)
    assert await ask(world, "DELETE", f"/{letter.job.id}") == (204, {})
    assert not_found(await ask(world, "POST", f"/{letter.job.id}/replay"))
    assert not_found(await ask(world, "DELETE", f"/{letter.job.id}"))
    assert await world.waiting() == 0


async def test_a_replay_that_is_refused_keeps_the_letter(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with GatewayWorld(nats_server, tmp_path, max_jobs_in_flight=1) as world:
        letter = await fail(world)
        gone = msgspec.structs.replace(letter.job, id=new_job_id(), model="gone")
        await put(world, letter_of(gone, created_ms=letter.created_ms))
        status, body = await ask(world, "POST", f"/{gone.id}/replay")
        assert (status, body["error"]["code"]) == (404, "model_not_found")
        await until(partial(accepted, world))
        status, body = await ask(world, "POST", f"/{letter.job.id}/replay")
        assert (status, body["error"]["code"]) == (429, "too_many_jobs_in_flight")
        assert await listed(world) == [letter.job.id, gone.id]


async def test_a_purge_removes_the_tenants_own(world: GatewayWorld) -> None:
    mine = [await fail(world) for _ in range(3)]
    other = msgspec.structs.replace(mine[0].job, tenant="stranger", id=new_job_id())
    await put(world, letter_of(other, created_ms=1))
    assert await ask(world, "DELETE") == (200, {"purged": 3})
    assert await listed(world) == []
    assert await listed(world, world.stranger) == [other.id]


async def test_deleting_a_job_removes_its_letter(world: GatewayWorld) -> None:
    letter, other = await fail(world), await fail(world)
    async with world.http.delete(f"/v1/jobs/{letter.job.id}") as response:
        assert response.status == 204
    assert await listed(world) == [other.job.id]
    assert not_found(await ask(world, "POST", f"/{letter.job.id}/replay"))


async def test_a_letter_that_cannot_be_read_hides_no_other(world: GatewayWorld) -> None:
    letter = await fail(world)
    bad = new_job_id()
    for payload in (b"garbage", b'{"v":99}'):
        subject = dead_letter_subject("default", "acme", bad)
        await world.peer.jetstream.publish(subject, payload, {})
        assert await listed(world) == [letter.job.id]
        for method, verb in [("GET", ""), ("POST", "/replay")]:
            status, body = await ask(world, method, f"/{bad}{verb}")
            assert (status, body["error"]["code"]) == (500, "internal")
    assert await ask(world, "DELETE", f"/{bad}") == (204, {})


async def test_while_jetstream_is_away_nothing_is_said_to_be_gone(
    world: GatewayWorld, nats_server: NatsServer
) -> None:
    letter = await fail(world)
    await nats_server.kill()
    paths = [("GET", ""), ("GET", "/{}"), ("POST", "/{}/replay"), ("DELETE", "/{}"), ("DELETE", "")]
    for method, path in paths:
        status, body = await ask(world, method, path.format(letter.job.id))
        assert (status, body["error"]["code"]) == (503, "unavailable")
    await nats_server.start()

    async def replayed() -> bool:
        return (await ask(world, "POST", f"/{letter.job.id}/replay"))[0] == 202

    await until(replayed)
    assert await kept(world) == 0


# On the command line.


async def dlq(
    world: GatewayWorld, *arguments: str, answer: bytes | None = None
) -> tuple[int, str, str]:
    """`tidegate dlq …` as tenant `acme`: exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidegate.cli", "dlq", *arguments),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}/services",
            "TIDEGATE_URL": f"http://{world.gateway.http.address}",
            "TIDEGATE_API_KEY": world.key,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await process.communicate(answer)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode or 0, stdout.decode(), stderr.decode()


@pytest.fixture
async def letters(world: GatewayWorld) -> list[DeadLetter]:
    return [await fail(world) for _ in range(3)]


async def test_the_command_line_lists_and_shows(
    world: GatewayWorld, letters: list[DeadLetter]
) -> None:
    status, stdout, stderr = await dlq(world, "list", "--limit", "2")
    assert (status, stderr) == (0, "the oldest 2; there are more: --limit\n")
    head, *rows = stdout.splitlines()
    assert head.split() == ["JOB", "FAILED", "REASON", "TRIES", "CLASS", "QUEUE", "MODEL"]
    assert [line.split()[0] for line in rows] == [letter.job.id for letter in letters[:2]]
    assert rows[0].split()[2:] == ["PROVIDER_UNAVAILABLE", "3", "interactive", "default", "sim-1"]

    status, stdout, _ = await dlq(world, "show", letters[0].job.id)
    assert status == 0
    assert "request" not in msgspec.json.decode(stdout)
    status, stdout, _ = await dlq(world, "show", "--request", letters[0].job.id)
    assert (status, msgspec.json.decode(stdout)["request"]) == (0, CHAT)
    status, stdout, stderr = await dlq(world, "show", new_job_id())
    assert (status, stdout) == (1, "")
    assert "dead_letter_not_found" in stderr


async def test_the_command_line_replays(world: GatewayWorld, letters: list[DeadLetter]) -> None:
    first, unknown = letters[0].job.id, new_job_id()
    status, stdout, stderr = await dlq(world, "replay", unknown, first)
    assert status == 1
    assert f"error: {unknown}: there is no such dead letter" in stderr
    (old, new), *more = [line.split() for line in stdout.splitlines()]
    assert (old, more, (await world.get(new))["replay_of"]) == (first, [], first)

    status, stdout, _ = await dlq(world, "replay", "--all")
    assert status == 0
    assert [line.split()[0] for line in stdout.splitlines()] == [
        each.job.id for each in letters[1:]
    ]
    assert await kept(world) == 0
    assert (await dlq(world, "replay"))[0] == 2
    assert (await dlq(world, "replay", "--all", first))[0] == 2


async def test_the_command_line_asks_before_it_removes(
    world: GatewayWorld, letters: list[DeadLetter]
) -> None:
    for answer in (b"n\n", b""):
        status, stdout, _ = await dlq(world, "purge", answer=answer)
        assert (status, stdout, await kept(world)) == (1, "", 3)
    status, _, stderr = await dlq(world, "purge", letters[0].job.id, answer=b"y\n")
    assert (status, await kept(world)) == (0, 2)
    assert letters[0].job.id in stderr
    status, _, stderr = await dlq(world, "purge", "--yes", letters[0].job.id, letters[1].job.id)
    assert (status, await kept(world)) == (1, 1)
    assert await dlq(world, "purge", "--yes") == (0, "", "removed: 1\n")
