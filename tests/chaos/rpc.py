"""The client of the gRPC API."""

from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.chaos.clients import CALL_SECONDS, SILENCE_SECONDS, Client, Unheard
from tests.chaos.told import Frame
from tidegate.v1 import jobs_pb2

_PASSING: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
_REFUSED: Final = {grpc.StatusCode.RESOURCE_EXHAUSTED: 429}


class RpcClient(Client):
    """`CreateJob`, then `StreamJobEvents` until the end."""

    async def create(self) -> bool:
        """As `Client` has it."""
        stub = self.of(self.reach.stubs)
        try:
            told = await stub.CreateJob(
                self._request(), metadata=self._metadata, timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            reason = _reason(error)
            # Without a reason of ours it is the connection that broke.
            if not reason and error.code() in _PASSING:
                raise Unheard from error
            return self.refuse(_status(error), reason or str(error.code()))
        self.told.job_id = told.job.id
        return True

    async def follow(self) -> bool:
        """As `Client` has it."""
        asked = jobs_pb2.StreamJobEventsRequest(
            job_id=self.told.job_id, after_sequence=self.told.last_sequence
        )
        stub = self.of(self.reach.stubs)
        call = stub.StreamJobEvents(asked, metadata=self._metadata, timeout=SILENCE_SECONDS)
        try:
            async for told in call:
                if self.told.hear(_frame(told.event)):
                    return True
        except grpc.aio.AioRpcError as error:
            if error.code() not in _PASSING:
                self.told.complaints.append(f"a reader was refused: {error.code()}")
            raise Unheard from error
        self.told.complaints.append("the stream ended without a terminal event")
        return True

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.reach.key}"),)

    def _request(self) -> jobs_pb2.CreateJobRequest:
        request = jobs_pb2.CreateJobRequest(
            request_id=self.plan.request_id,
            chat=jobs_pb2.ChatRequest(
                model=self.body()["model"],
                messages=[jobs_pb2.ChatMessage(role="user", content=self.plan.question)],
                max_tokens=self.plan.tokens or None,
            ),
        )
        if self.plan.batch:
            request.job_class = jobs_pb2.JOB_CLASS_BATCH
        if self.plan.ttl is not None:
            lifetime = Duration()
            lifetime.FromMilliseconds(int(self.plan.ttl * 1000))
            request.ttl.CopyFrom(lifetime)
        return request


def _status(error: grpc.aio.AioRpcError) -> int:
    return _REFUSED.get(error.code(), 503 if error.code() in _PASSING else 400)


def _reason(error: grpc.aio.AioRpcError) -> str:
    """The platform's own word; empty where none came."""
    info = ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                detail.Unpack(info)
    return str(info.reason)


def _frame(event: Any) -> Frame:
    kind = event.WhichOneof("event")
    frame: Frame = {"sequence": event.sequence, "type": kind}
    if kind == "delta":
        frame["data"] = event.delta.data
    elif kind == "attempt_started":
        frame["continues"] = event.attempt_started.continues
    return frame
