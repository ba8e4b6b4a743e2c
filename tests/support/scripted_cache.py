"""A cache that says what a test tells it to: the real protocol, over a real socket.

    async with ScriptedCache(tmp_path) as cache:
        await world.start_worker(**cache.settings)
        cache.say(hit("when?", tier=pb.CACHE_TIER_EXACT))

As it is, every request is a miss, under a key of its own, until its answer was stored. It keeps
what it was asked and told.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import grpc

from tidegate.chassis.fleet_key import FleetKey
from tidegate.v1 import cache_pb2 as pb
from tidegate.v1.cache_pb2_grpc import CacheServiceServicer, add_CacheServiceServicer_to_server

Script = Callable[[pb.LookupRequest], pb.LookupResponse]

# Tests do not assert times: a busy machine must not turn a lookup into a miss.
PATIENT = 5.0


class ScriptedCache(CacheServiceServicer):
    """`lookups` and `stores` are what came, and whose calls they were was checked."""

    def __init__(self, directory: Path) -> None:
        self._key_file = directory / "cache-key"
        self._key_file.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        self._key = FleetKey.of_file(self._key_file)
        self._server: grpc.aio.Server | None = None
        self._port = 0
        self._script: Script | None = None
        self._kept: dict[str, pb.CachedAnswer] = {}
        self._arrived = asyncio.Condition()
        self.lookups: list[pb.LookupRequest] = []
        self.stores: list[pb.StoreRequest] = []
        self.metadata: list[dict[str, str]] = []
        # Cleared, calls of the kind wait for it.
        self.answering = asyncio.Event()
        self.storing = asyncio.Event()
        self.refusal: grpc.StatusCode | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """A worker's, to ask this cache."""
        return {
            "cache_target": f"127.0.0.1:{self._port}",
            "cache_key_file": self._key_file,
            "cache_lookup_seconds": PATIENT,
        }

    def say(self, script: Script | pb.LookupResponse | None) -> None:
        """What lookups are answered from now on; None: as it is by itself."""
        if isinstance(script, pb.LookupResponse):
            fixed = script
            self._script = lambda _: fixed
        else:
            self._script = script

    async def start(self) -> None:
        """Serves, on the port that it had before."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_CacheServiceServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()
        self.answering.set()
        self.storing.set()

    async def kill(self) -> None:
        """Cuts every connection, and calls in mid-air."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(0)

    async def until_stored(self, number: int = 1) -> None:
        """Returns when so many answers have come to be stored."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.stores) >= number)

    async def until_asked(self, number: int = 1) -> None:
        """Returns when so many lookups have come."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.lookups) >= number)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.kill()

    async def Lookup(self, request: pb.LookupRequest, context: Any) -> pb.LookupResponse:
        await self._admit(context)
        self.lookups.append(request)
        await self._tell()
        await self.answering.wait()
        script = self._script or self.by_itself
        return script(request)

    async def Store(self, request: pb.StoreRequest, context: Any) -> pb.StoreResponse:
        await self._admit(context)
        self.stores.append(request)
        await self._tell()
        await self.storing.wait()
        self._kept[key_of(request)] = request.answer
        return pb.StoreResponse(stored=True)

    async def _admit(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata() or ())
        self.metadata.append(metadata)
        if not self._key.accepts(metadata.get("authorization")):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "not the fleet's key")
        if self.refusal is not None:
            await context.abort(self.refusal, "as the test says")

    async def _tell(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()

    def by_itself(self, request: pb.LookupRequest) -> pb.LookupResponse:
        """What it answers where no test says otherwise."""
        kept = self._kept.get(key_of(request))
        if kept is None:
            return miss(key_of(request))
        return pb.LookupResponse(
            outcome=pb.LOOKUP_OUTCOME_HIT,
            key=key_of(request),
            tier=pb.CACHE_TIER_EXACT,
            answer=kept,
        )

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        raise NotImplementedError

    async def Invalidate(
        self, request: pb.InvalidateRequest, context: Any
    ) -> pb.InvalidateResponse:
        raise NotImplementedError

    async def ReportFeedback(
        self, request: pb.ReportFeedbackRequest, context: Any
    ) -> pb.ReportFeedbackResponse:
        raise NotImplementedError

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        raise NotImplementedError


def key_of(request: pb.LookupRequest | pb.StoreRequest) -> str:
    """The name of a request, whoever asks."""
    return hashlib.sha256(request.model.encode() + b"\0" + request.chat_json).hexdigest()


def miss(key: str) -> pb.LookupResponse:
    """There is no answer."""
    return pb.LookupResponse(outcome=pb.LOOKUP_OUTCOME_MISS, key=key, reason="unknown")


def hit(
    text: str,
    *,
    tier: pb.CacheTier = pb.CACHE_TIER_EXACT,
    score: float | None = None,
    key: str = "0" * 64,
    **fields: Any,
) -> pb.LookupResponse:
    """There is one; `fields` are the answer's own."""
    answer = {"text": text, "finish_reason": "stop", "entry_id": "entry-1", "job_id": "job_1"}
    return pb.LookupResponse(
        outcome=pb.LOOKUP_OUTCOME_HIT,
        key=key,
        tier=tier,
        score=score,
        answer=pb.CachedAnswer(**(answer | fields)),
    )


def shadow(entry_id: str, key: str = "0" * 64) -> pb.LookupResponse:
    """There is one that is to be compared with the model's."""
    return pb.LookupResponse(
        outcome=pb.LOOKUP_OUTCOME_SHADOW,
        key=key,
        tier=pb.CACHE_TIER_SEMANTIC,
        answer=pb.CachedAnswer(entry_id=entry_id),
    )


def bypass() -> pb.LookupResponse:
    """It is none that can be cached."""
    return pb.LookupResponse(outcome=pb.LOOKUP_OUTCOME_BYPASS, reason="tools")
