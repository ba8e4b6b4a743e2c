"""The HTTP surface of the cache, passed on to it with the caller's own key."""

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from tidegate.chassis.keyring import Caller
from tidegate.contracts.chat import canonical_chat, parse_chat
from tidegate.contracts.errors import FailedPrecondition, InvalidRequest, Reason
from tidegate.contracts.extra import require_offered
from tidegate.contracts.json_body import decode_body, require_unique_keys
from tidegate.gateway.cache_client import CacheClient
from tidegate.gateway.cache_json import (
    CacheStatsJson,
    ExplainBody,
    ExplanationJson,
    FeedbackBody,
    FeedbackJson,
    InvalidateBody,
    InvalidatedJson,
)
from tidegate.gateway.creation import too_large
from tidegate.gateway.entrance import Entrance, header
from tidegate.gateway.jobs import Jobs
from tidegate.gateway.offers import route_of
from tidegate.providers.routes import Routes
from tidegate.v1 import cache_pb2 as pb

# The protocol's messages are bounded; the cache takes in much smaller requests than this.
_MOST_BYTES: Final = 4 * 1024 * 1024
_CHAT: Final = "request"

_encoder = msgspec.json.Encoder()
_explain_decoder = msgspec.json.Decoder(ExplainBody)
_invalidate_decoder = msgspec.json.Decoder(InvalidateBody)
_feedback_decoder = msgspec.json.Decoder(FeedbackBody)


class CacheApi:
    """`client` None: the platform has no cache, and every call says so.

    All calls raise, besides what their docstrings say:
        Unauthenticated, PermissionDenied, InvalidRequest, RequestTooLarge: as they say.
        FailedPrecondition: CACHE_OFF.
        Unavailable: the cache does not answer.
    """

    def __init__(
        self,
        client: CacheClient | None,
        jobs: Jobs,
        entrance: Entrance,
        routes: Callable[[], Routes],
    ) -> None:
        self._client = client
        self._jobs = jobs
        self._entrance = entrance
        self._routes = routes

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/v1/cache/stats", self.stats),
            web.post("/v1/cache/explain", self.explain),
            web.post("/v1/cache/invalidate", self.invalidate),
            web.post("/v1/cache/feedback", self.feedback),
        ]

    async def stats(self, request: web.Request) -> web.Response:
        """What it holds for the tenant."""
        _, key = self._admit(request)
        return _json(CacheStatsJson.of(await self._live().stats(key)))

    async def explain(self, request: web.Request) -> web.Response:
        """How a lookup of a request would end now, and why.

        Raises:
            NotFound: there is no such model.
        """
        _, key = self._admit(request)
        body = await self._entrance.read_json_body(request)
        asked = decode_body(_explain_decoder, body)
        require_unique_keys(body)
        return _json(ExplanationJson.of(await self._live().explain(key, self._question(asked))))

    async def invalidate(self, request: web.Request) -> web.Response:
        """How many entries were removed."""
        _, key = self._admit(request)
        body = await self._entrance.read_json_body(request)
        asked = decode_body(_invalidate_decoder, body)
        require_unique_keys(body)
        return _json(InvalidatedJson(await self._live().invalidate(key, asked.asked())))

    async def feedback(self, request: web.Request) -> web.Response:
        """Whether the entry was removed.

        Raises:
            NotFound: there is no such job.
        """
        caller, key = self._admit(request)
        body = await self._entrance.read_json_body(request)
        asked = decode_body(_feedback_decoder, body)
        require_unique_keys(body)
        client = self._live()
        entry_id = await self._entry(caller, asked)
        told = pb.ReportFeedbackRequest(entry_id=entry_id, wrong=asked.wrong)
        return _json(FeedbackJson(entry_id, await client.feedback(key, told)))

    def _admit(self, request: web.Request) -> tuple[Caller, str]:
        caller, _ = self._entrance.admit(request)
        return caller, header(request, "Authorization") or ""

    def _live(self) -> CacheClient:
        if self._client is None:
            raise FailedPrecondition(
                "the cache is off: TIDEGATE_CACHE_TARGET is not set", reason=Reason.CACHE_OFF
            )
        return self._client

    def _question(self, asked: ExplainBody) -> pb.ExplainRequest:
        """The request as a job would carry it."""
        chat = parse_chat(asked.request, path=_CHAT)
        route = route_of(self._routes(), chat.model, "chat", field=f"{_CHAT}.model")
        require_offered(chat.extra, route.extra_body, path=_CHAT)
        canonical = canonical_chat(chat)
        if len(canonical) > _MOST_BYTES:
            raise too_large(_MOST_BYTES)
        return pb.ExplainRequest(model=chat.model, chat_json=canonical)

    async def _entry(self, caller: Caller, asked: FeedbackBody) -> str:
        if (asked.entry_id is None) == (asked.job_id is None):
            raise InvalidRequest("one of entry_id and job_id is required", field="entry_id")
        if asked.job_id is None:
            return asked.entry_id or ""
        job = await self._jobs.get(caller, asked.job_id)
        if job.cache is None or not job.cache.entry:
            raise InvalidRequest(
                "the job's answer is of no entry of the cache; what a job put into it goes by "
                "POST /v1/cache/invalidate",
                field="job_id",
            )
        return job.cache.entry


def _json(told: msgspec.Struct) -> web.Response:
    return web.Response(body=_encoder.encode(told), content_type="application/json")
