"""Asking the cache service: for callers with their own key, for the gateway with the fleet's."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from opentelemetry.trace import SpanKind

from tidegate.chassis.component import Deadline
from tidegate.chassis.fleet_key import FleetKey
from tidegate.chassis.grpc_channel import make_channel
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.chassis.tracing import Tracing, trace_metadata
from tidegate.contracts.errors import Reason, TidegateError, Unauthenticated, Unavailable
from tidegate.v1 import cache_pb2 as pb
from tidegate.v1.cache_pb2_grpc import CacheServiceStub

_log = structlog.stdlib.get_logger(module=__name__)

_CALL_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 1.0

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


class CacheClient:
    """A component: the CacheService at `target`; `key` is the fleet's, and never a caller's.

    All calls raise Unavailable, with the seconds after which to repeat, while the cache is away.
    """

    name = "cache-client"

    def __init__(self, target: str, key: FleetKey, *, tracing: Tracing) -> None:
        self._target = target
        self._key = key
        self._tracing = tracing
        self._channel: grpc.aio.Channel | None = None
        self._stub: CacheServiceStub | None = None

    async def start(self) -> None:
        """Makes the channel; it connects when it is first used."""
        self._channel = make_channel(self._target)
        self._stub = CacheServiceStub(self._channel)

    async def stop(self, deadline: Deadline) -> None:
        """Closes the channel."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            await channel.close(deadline.remaining() / 2)

    async def stats(self, authorization: str) -> pb.GetStatsResponse:
        """What it holds for the key's tenant."""
        return await self._forward(self._live().GetStats, pb.GetStatsRequest(), authorization)

    async def explain(self, authorization: str, request: pb.ExplainRequest) -> pb.ExplainResponse:
        """How a lookup of the key's tenant would be decided."""
        return await self._forward(self._live().Explain, request, authorization)

    async def invalidate(self, authorization: str, request: pb.InvalidateRequest) -> int:
        """Removes entries of the key's tenant; how many."""
        called = self._live().Invalidate
        return (await self._forward(called, request, authorization)).removed

    async def feedback(self, authorization: str, request: pb.ReportFeedbackRequest) -> bool:
        """Judges an entry of the key's tenant; whether it was removed."""
        called = self._live().ReportFeedback
        return (await self._forward(called, request, authorization)).removed

    async def forget(self, tenant: str, job_id: str) -> None:
        """Removes what a job has put into the cache, and has it take nothing of it later."""
        request = pb.InvalidateRequest(tenant=tenant, job_id=job_id)
        try:
            await self._call(self._live().Invalidate, request, self._key.authorization)
        except Unavailable:
            raise
        except TidegateError as error:
            # No fault of whoever asked us: the secrets differ, or the releases.
            _log.error("the cache refuses the gateway", reason=error.reason, why=error.message)
            raise _away() from error

    async def _forward(
        self,
        call: Callable[..., Awaitable[ResponseT]],
        request: RequestT,
        authorization: str,
    ) -> ResponseT:
        try:
            return await self._call(call, request, authorization)
        except Unauthenticated as error:
            # It was let in here: the cache looks at its file of keys a moment later.
            raise Unavailable(
                "the cache does not know this key yet", retry_after=_AGAIN_SECONDS
            ) from error

    async def _call(
        self,
        call: Callable[..., Awaitable[ResponseT]],
        request: RequestT,
        authorization: str,
    ) -> ResponseT:
        with self._tracing.span("cache", kind=SpanKind.CLIENT):
            metadata = (("authorization", authorization), *trace_metadata())
            try:
                return await call(request, timeout=_CALL_SECONDS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise _with_time(from_rpc_error(error)) from error

    def _live(self) -> CacheServiceStub:
        if self._stub is None:
            raise Unavailable("the service is draining", reason=Reason.DRAINING)
        return self._stub


def _with_time(error: TidegateError) -> TidegateError:
    """The error; one that passes says when."""
    away = isinstance(error, Unavailable) and error.retry_after is None
    return _away() if away else error


def _away() -> Unavailable:
    return Unavailable("the cache does not answer", retry_after=_AGAIN_SECONDS)
