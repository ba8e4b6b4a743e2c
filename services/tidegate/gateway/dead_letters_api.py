"""The HTTP surface of dead letters, a projection of their core."""

from collections.abc import Callable, Sequence
from typing import Self

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from tidegate.contracts.dead_letter import DeadLetter
from tidegate.contracts.jobs import JobView
from tidegate.gateway.dead_letters import DeadLetters
from tidegate.gateway.entrance import Entrance, page_size_in, yes_or_no_in

_encoder = msgspec.json.Encoder()


class DeadLetterJson(msgspec.Struct, frozen=True):
    """A dead letter; times are seconds since the epoch. `request` only where it was asked for."""

    job_id: str
    reason: str
    message: str
    retriable: bool
    attempts: int
    model: str
    job_class: str = msgspec.field(name="class")
    queue: str
    ttl_s: float
    created_at: float
    failed_at: float
    replay_of: str | None
    request: msgspec.Raw | UnsetType = UNSET

    @classmethod
    def of(cls, letter: DeadLetter, *, with_request: bool = False) -> Self:
        """What a caller sees of a letter; the prompt stays where it is unless it is asked for."""
        job = letter.job
        return cls(
            job_id=job.id,
            reason=letter.reason,
            message=letter.message,
            retriable=letter.retriable,
            attempts=letter.attempts,
            model=job.model,
            job_class=job.job_class.value,
            queue=job.queue,
            ttl_s=job.ttl_ms / 1000,
            created_at=letter.created_ms / 1000,
            failed_at=letter.failed_ms / 1000,
            replay_of=job.replay_of or None,
            request=job.request if with_request else UNSET,
        )


class DeadLetterPageJson(msgspec.Struct, frozen=True):
    """A page; `next_page_token` is null on the last."""

    dead_letters: Sequence[DeadLetterJson]
    next_page_token: str | None


class PurgedJson(msgspec.Struct, frozen=True):
    """How many dead letters were removed."""

    purged: int


class DeadLettersApi:
    """`encode` is how the jobs that replays make are shown, as every job is."""

    def __init__(
        self, letters: DeadLetters, entrance: Entrance, encode: Callable[[JobView], bytes]
    ) -> None:
        self._letters = letters
        self._entrance = entrance
        self._encode = encode

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/v1/dead-letters", self.list),
            web.delete("/v1/dead-letters", self.purge),
            web.get("/v1/dead-letters/{job_id}", self.get),
            web.delete("/v1/dead-letters/{job_id}", self.delete),
            web.post("/v1/dead-letters/{job_id}/replay", self.replay),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """A page of dead letters, without their requests."""
        caller, query = self._entrance.admit(request, offered=("page_size", "page_token"))
        page = await self._letters.page(caller, page_size_in(query), query.get("page_token", ""))
        shown = [DeadLetterJson.of(letter) for letter in page.letters]
        return _json(_encoder.encode(DeadLetterPageJson(shown, page.next_page_token or None)))

    async def get(self, request: web.Request) -> web.Response:
        """The dead letter, with `?request=true` also what the job asked the model."""
        caller, query = self._entrance.admit(request, offered=("request",))
        with_request = yes_or_no_in(query, "request")
        letter = await self._letters.get(caller, request.match_info["job_id"])
        return _json(_encoder.encode(DeadLetterJson.of(letter, with_request=with_request)))

    async def replay(self, request: web.Request) -> web.Response:
        """202 with the job that asks the same once more."""
        caller, _ = self._entrance.admit(request)
        job = await self._letters.replay(caller, request.match_info["job_id"])
        headers = {"Location": f"/v1/jobs/{job.id}", "x-tidegate-job": job.id}
        return _json(self._encode(job), status=202, headers=headers)

    async def delete(self, request: web.Request) -> web.Response:
        """204."""
        caller, _ = self._entrance.admit(request)
        await self._letters.delete(caller, request.match_info["job_id"])
        return web.Response(status=204)

    async def purge(self, request: web.Request) -> web.Response:
        """How many there were."""
        caller, _ = self._entrance.admit(request)
        return _json(_encoder.encode(PurgedJson(await self._letters.purge(caller))))


def _json(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
