"""Clients of every kind, patient and honest: each writes down what it was told.

All follow the same law, which is the documentation's. A create that was refused is tried again. One
of which nothing was heard is repeated under its request id; whoever has none gives up and counts it
as unanswered. A reader that was cut resumes after its last event, at the other server.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from tests.chaos.answers import messages_of
from tests.chaos.plan import JobPlan
from tests.chaos.system import MODEL
from tests.chaos.told import Told

PATIENCE_SECONDS: Final = 150.0
_PAUSE_SECONDS: Final = 0.2
# When nothing is struck any more.
_AGAIN_SECONDS: Final = 30.0
# More than a gateway takes to find out how a create ended.
CALL_SECONDS: Final = 20.0
# Silence after which a reader looks for another server: heartbeats come more often.
SILENCE_SECONDS: Final = 20.0
SERVER_ERRORS: Final = 500
_TOO_MANY: Final = 429
UNKNOWN: Final = "create_unknown"


class Unheard(Exception):
    """Nothing is known of what was asked: no answer, or one that says so."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Addresses of each surface in turn, and clients of HTTP and gRPC that are shared.

    The session carries the `key` already.
    """

    key: str
    session: aiohttp.ClientSession
    http: list[str]
    sse: list[str]
    sockets: list[str]
    stubs: list[Any]


class Client:
    """One client's way through its job. A surface says how it creates and how it follows."""

    def __init__(self, plan: JobPlan, reach: Reach) -> None:
        self.plan = plan
        self.reach = reach
        self.told = Told(plan)
        self._turns: Iterator[int] = itertools.count(plan.number)
        self.turn = next(self._turns)

    async def run(self) -> Told:
        """From the create to the end of the job, or to the end of the client's patience."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                if await self._create():
                    await self._follow_beside_cancelling()
        except TimeoutError:
            self.told.complaints.append("it had no end within the client's patience")
        return self.told

    async def ask_again(self) -> str:
        """The id of the job that the same create is given now, or why it is given none."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN_SECONDS):
                await self._create()
        return self.told.job_id or "; ".join(self.told.complaints) or "nothing"

    async def create(self) -> bool:
        """One try; False: refused for now. Raises Unheard."""
        raise NotImplementedError

    async def follow(self) -> bool:
        """Reads on; whether the end was seen. Raises one of BREAKS where it has to resume."""
        raise NotImplementedError

    def of(self, addresses: list[Any]) -> Any:
        """The server whose turn it is."""
        return addresses[self.turn % len(addresses)]

    def body(self) -> dict[str, Any]:
        """What is asked for."""
        body: dict[str, Any] = {"model": MODEL, "messages": messages_of(self.plan)}
        return body | ({"max_tokens": self.plan.tokens} if self.plan.tokens else {})

    def creation(self) -> dict[str, Any]:
        """The body of a create over HTTP or a socket."""
        wanted: dict[str, Any] = {"request": self.body()}
        if self.plan.request_id:
            wanted["request_id"] = self.plan.request_id
        if self.plan.batch:
            wanted["class"] = "batch"
        if self.plan.ttl is not None:
            wanted["ttl_s"] = self.plan.ttl
        return wanted

    def refuse(self, status: int, code: str) -> bool:
        """Takes a refusal down: False where it passes. Raises Unheard where it is none."""
        if code.lower() == UNKNOWN:
            raise Unheard
        self.told.refused.append(code)
        if status != _TOO_MANY and status < SERVER_ERRORS:
            self.told.complaints.append(f"a create was refused for good: {status} {code}")
        return False

    async def _create(self) -> bool:
        while not self.told.complaints:
            try:
                if await self.create():
                    return True
            except Unheard:
                self.told.unanswered += 1
                if not self.plan.request_id:
                    return False
            await self._turn_over()
        return False

    async def _follow_beside_cancelling(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            if self.plan.cancel_after is not None:
                tasks.create_task(self._cancel(self.plan.cancel_after))
            while not self.told.complaints:
                try:
                    if await self.follow():
                        return
                except BREAKS:
                    self.told.resumed += 1
                    await self._turn_over()

    async def _cancel(self, after: float) -> None:
        await asyncio.sleep(after)
        while True:
            url = f"{self.of(self.reach.http)}/v1/jobs/{self.told.job_id}/cancel"
            with contextlib.suppress(*BREAKS):
                async with asyncio.timeout(CALL_SECONDS), self.reach.session.post(url) as answer:
                    if answer.status == HTTPStatus.OK:
                        job = msgspec.json.decode(await answer.read())
                        self.told.cancel_state, self.told.cancelled_at = job["state"], time.time()
                        return
                    if answer.status != _TOO_MANY and answer.status < SERVER_ERRORS:
                        self.told.complaints.append(f"a cancel was refused: {answer.status}")
                        return
            await self._turn_over()

    async def _turn_over(self) -> None:
        self.turn = next(self._turns)
        await asyncio.sleep(_PAUSE_SECONDS)


BREAKS: Final = (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError, Unheard)
"""Ways in which a connection or an answer breaks, and nothing is known."""


class HttpClient(Client):
    """Creates by `POST /v1/jobs`."""

    async def create(self) -> bool:
        """As `Client` has it."""
        url = f"{self.of(self.reach.http)}/v1/jobs"
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self.reach.session.post(url, json=self.creation()) as answer,
            ):
                told = msgspec.json.decode(await answer.read())
        except BREAKS as error:
            raise Unheard from error
        if answer.ok:
            self.told.job_id = told["id"]
            return True
        return self.refuse(answer.status, told["error"]["code"])


class PollingClient(HttpClient):
    """Looks at its job until it has ended."""

    async def follow(self) -> bool:
        """As `Client` has it."""
        url = f"{self.of(self.reach.http)}/v1/jobs/{self.told.job_id}"
        async with asyncio.timeout(CALL_SECONDS), self.reach.session.get(url) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                self.told.complaints.append("an accepted job was not found")
                return True
            if not answer.ok:
                raise Unheard
            job = msgspec.json.decode(await answer.read())
        if job["finished_at"] is None:
            await asyncio.sleep(_PAUSE_SECONDS)
            return False
        self.told.state = job["state"]
        self.told.text = job["answer"]["text"]
        return True


class SseClient(HttpClient):
    """Reads server-sent events."""

    async def follow(self) -> bool:
        """As `Client` has it."""
        url = f"{self.of(self.reach.sse)}/v1/jobs/{self.told.job_id}/events"
        last = {"Last-Event-ID": str(self.told.last_sequence)} if self.told.frames else {}
        patience = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS)
        async with self.reach.session.get(url, headers=last, timeout=patience) as answer:
            if answer.status == HTTPStatus.NO_CONTENT:
                self.told.complaints.append("the stream ended without a terminal event")
            if answer.status == HTTPStatus.NOT_FOUND:
                self.told.complaints.append("an accepted job was not found")
            async for data in _data_lines(answer):
                if self.told.hear(msgspec.json.decode(data)):
                    return True
        raise Unheard


async def _data_lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of events that came whole: the blank line behind each was seen."""
    if answer.status != HTTPStatus.OK:
        return
    data = b""
    async for line in answer.content:
        if line.startswith(b"data: ") and line.endswith(b"\n"):
            data = line[6:]
        elif line == b"\n" and data:
            yield data
            data = b""
