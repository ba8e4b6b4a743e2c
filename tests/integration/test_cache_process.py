"""The cache as a process. Who lost this would lose all answers when it is killed, or not be told
why it does not start."""

import secrets
import signal
from pathlib import Path
from typing import Any

from tests.support.cache_parts import MODEL, TENANT, chat
from tests.support.cache_world import CacheClient, store_request
from tests.support.log_world import LogWorld
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.services import ServiceProcess
from tidegate.chassis.fleet_key import FleetKey
from tidegate.v1 import cache_pb2 as pb

QUESTIONS = [f"How do I reset password number {number}?" for number in range(20)]
ANSWER = "Open the settings."


class CacheProcess(ServiceProcess):
    """A cache, which keeps its entries in the test's folder."""

    def __init__(self, nats: NatsServer, directory: Path, **environ: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        key = directory / "cache-key"
        if not key.exists():
            key.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        self.authorization = FleetKey.of_file(key).authorization
        given = {
            "TIDEGATE_NATS_URL": nats.url,
            "TIDEGATE_CACHE_LISTEN": self.address,
            "TIDEGATE_CACHE_KEY_FILE": str(key),
            "TIDEGATE_CACHE_DIRECTORY": str(directory / "cache"),
            "TIDEGATE_CACHE_DEADLINE_SECONDS": "10",
        }
        super().__init__("cache", directory, free_port(), **(given | environ))


async def ask(client: CacheClient, question: str) -> Any:
    request = pb.LookupRequest(tenant=TENANT, model=MODEL, chat_json=chat(question))
    return await client.call("Lookup", request)


async def test_what_was_stored_survives_kill_9(
    world: LogWorld, nats_server: NatsServer, tmp_path: Path
) -> None:
    del world  # It made the streams.
    async with (
        CacheProcess(nats_server, tmp_path) as process,
        CacheClient(process.address, process.authorization) as client,
    ):
        for question in QUESTIONS:
            stored = await client.call("Store", store_request(chat(question), ANSWER))
            assert stored.stored
        await process.kill()
    async with CacheProcess(nats_server, tmp_path) as again:
        async with CacheClient(again.address, again.authorization) as client:
            found = [await ask(client, question) for question in QUESTIONS]
            assert {each.answer.text for each in found} == {ANSWER}
            reworded = await ask(client, "How can I reset password number 7?")
            assert reworded.tier == pb.CACHE_TIER_SEMANTIC
        again.signal(signal.SIGTERM)
        assert await again.wait() == 0
        assert again.complaints() == []


async def test_nothing_that_is_asked_stands_in_the_log(
    world: LogWorld, nats_server: NatsServer, tmp_path: Path
) -> None:
    del world
    secret = "xylophone"  # A word that no code holds.
    async with CacheProcess(nats_server, tmp_path, TIDEGATE_LOG_LEVEL="debug") as process:
        async with CacheClient(process.address, process.authorization) as client:
            question = chat(f"Where is my {secret}?")
            await client.call("Store", store_request(question, f"Your {secret} is here."))
            await ask(client, f"where is my {secret}")
            await ask(client, f"{secret} " * 20_000)
            bad = pb.LookupRequest(tenant=TENANT, model=MODEL, chat_json=secret.encode())
            await client.call("Lookup", bad)
        assert secret not in process.log.read_text(encoding="utf-8")
        assert secret not in await process.metrics()


async def test_a_missing_key_is_told_in_a_line(nats_server: NatsServer, tmp_path: Path) -> None:
    process = CacheProcess(nats_server, tmp_path, TIDEGATE_CACHE_KEY_FILE="nowhere")
    await process.launch()
    assert await process.wait() == 2
    (line,) = process.log.read_text(encoding="utf-8").splitlines()
    assert "TIDEGATE_CACHE_KEY_FILE" in line
