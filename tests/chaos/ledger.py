"""What is found afterwards, from the outside: jobs, logs, the provider's calls, what is left."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec
import nats
import nats.errors

from tests.chaos.stored import StoredLog, stored_logs
from tests.chaos.told import Frame
from tidegate.chassis.jetstream import JetStreamError

_PAGE: Final = 200
UNREADABLE: Final = (aiohttp.ClientError, OSError, TimeoutError, nats.errors.Error, JetStreamError)
"""What comes of looking at a platform that is not there."""
_AT_ONCE: Final = 32
_SETTLING_SECONDS: Final = 120.0
# Three times what a message waits for its acknowledgement.
_REDELIVERY_SECONDS: Final = 30.0
_UNAVAILABLE: Final = 503
_UNAVAILABLE_SECONDS: Final = 30.0


@dataclass(slots=True)
class Ledger:
    """`jobs` by id as `GET /v1/jobs/{id}` shows them, `logs` their events, `calls` the provider's.

    `left` are messages in the queue and deliveries without an end; `unsettled` says what did not
    come to rest in time; `called_again` counts calls that repeats of creates have caused.
    `stored` are the logs as NATS keeps them, up to the stream sequence `position`.
    """

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, list[Frame]] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    unsettled: list[str] = field(default_factory=list)
    called_again: int = 0
    stored: dict[str, StoredLog] = field(default_factory=dict)
    position: int = 0


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Addresses, past all wires, and the key of the tenant that is looked at."""

    key: str
    gateway: str
    streaming: str
    simulator: str
    nats: str


def bearer(key: str) -> dict[str, str]:
    """The header that a key is sent in."""
    return {"Authorization": f"Bearer {key}"}


async def settle(
    witnesses: Witnesses, known: set[str], position: int, repeat: Callable[[], Awaitable[None]]
) -> Ledger:
    """Waits until nothing waits or runs, and writes down what there is but for `known` jobs.

    What NATS had stored up to `position` is known too.

    In between, `repeat` asks for what has ended once more, of which nothing must come.
    """
    ledger = Ledger()
    async with aiohttp.ClientSession(headers=bearer(witnesses.key)) as session:
        before = await _rest(session, witnesses)
        await repeat()
        stats = await _rest(session, witnesses)
        ledger.unsettled = stats["unsettled"]
        ledger.calls = stats["calls"]
        ledger.called_again = stats["started"] - before["started"]
        ids = [job["id"] for job in await _list(session, witnesses) if job["id"] not in known]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def read(job_id: str) -> None:
            async with gate:
                url = f"{witnesses.gateway}/v1/jobs/{job_id}"
                ledger.jobs[job_id] = await _json(session, url)
                ledger.logs[job_id] = await _log(session, witnesses, job_id)

        await asyncio.gather(*map(read, ids))
    ledger.stored, ledger.position = await stored_logs(witnesses.nats, position, ledger.jobs)
    ledger.left = await _left_at_last(witnesses.nats)
    return ledger


async def _rest(session: aiohttp.ClientSession, witnesses: Witnesses) -> dict[str, Any]:
    """What the provider has counted when all has ended; `unsettled` says what has not, in time."""
    unsettled: list[str] = []
    waiting: list[str] = []
    try:
        async with asyncio.timeout(_SETTLING_SECONDS):
            while waiting := await _unfinished(session, witnesses):
                await asyncio.sleep(0.25)
    except TimeoutError:
        unsettled += [f"{job} has not ended" for job in waiting]
    stats: dict[str, Any] = await _json(
        session, f"{witnesses.simulator}/stats?idle_within=20&limit=1000000"
    )
    if stats["running"]:
        unsettled.append(f"{stats['running']} calls to the provider still run")
    return stats | {"unsettled": unsettled}


async def _unfinished(session: aiohttp.ClientSession, witnesses: Witnesses) -> list[str]:
    """Ids of jobs that wait or run; they are listed first."""
    page = await _json(session, f"{witnesses.gateway}/v1/jobs?page_size={_PAGE}")
    return [job["id"] for job in page["jobs"] if job["finished_at"] is None]


async def _list(session: aiohttp.ClientSession, witnesses: Witnesses) -> list[dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = {}
    token = ""
    while True:
        url = f"{witnesses.gateway}/v1/jobs?page_size={_PAGE}"
        page = await _json(session, url + (f"&page_token={token}" if token else ""))
        jobs |= {job["id"]: job for job in page["jobs"]}
        token = page["next_page_token"]
        if not token:
            return list(jobs.values())


async def _log(session: aiohttp.ClientSession, witnesses: Witnesses, job_id: str) -> list[Frame]:
    lines = (await _read(session, f"{witnesses.streaming}/v1/jobs/{job_id}/events")).split(b"\n")
    return [msgspec.json.decode(line[6:]) for line in lines if line.startswith(b"data: ")]


async def _json(session: aiohttp.ClientSession, url: str) -> Any:
    return msgspec.json.decode(await _read(session, url))


async def _read(session: aiohttp.ClientSession, url: str) -> bytes:
    """Told to come again, as on a busy machine, it does, as any client would."""
    until = time.monotonic() + _UNAVAILABLE_SECONDS
    while True:
        async with session.get(url) as response:
            if response.status == _UNAVAILABLE and time.monotonic() < until:
                await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
                continue
            response.raise_for_status()
            return await response.read()


async def _left_at_last(url: str) -> dict[str, int]:
    """What is left when nothing changes any more.

    A server that was killed may bring back a delivery of a message that is gone; it finds out when
    it would deliver it again.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _REDELIVERY_SECONDS
    while any((left := await _left(url)).values()) and loop.time() < until:
        await asyncio.sleep(0.5)
    return left


async def _left(url: str) -> dict[str, int]:
    """Messages of the queue, and deliveries of its consumers that nobody ended."""
    client = await nats.connect(url.split(","))
    try:
        jetstream = client.jetstream()
        state = (await jetstream.stream_info("JOBS")).state
        consumers = await jetstream.consumers_info("JOBS")
        return {"queued": state.messages} | {
            each.name: (each.num_ack_pending or 0) + (each.num_pending or 0) for each in consumers
        }
    finally:
        await client.close()
