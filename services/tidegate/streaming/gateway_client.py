"""Creating and cancelling jobs at the gateway, with the caller's own key or token."""

import grpc

from tidegate.chassis.component import Deadline
from tidegate.chassis.grpc_channel import make_channel
from tidegate.chassis.grpc_errors import from_rpc_error
from tidegate.chassis.tracing import Tracing, trace_metadata
from tidegate.contracts.create import FIELD_NAMES_KEY, CreateBody
from tidegate.contracts.errors import Reason, TidegateError, Unavailable
from tidegate.contracts.job_json import JobJson, encode_job_json
from tidegate.streaming.proto import create_request, job_view
from tidegate.v1.jobs_pb2 import CancelJobRequest
from tidegate.v1.jobs_pb2_grpc import JobServiceStub


class GatewayClient:
    """A component: the gateway's JobService at `target`; `timeout` is seconds for each call."""

    name = "gateway-client"

    def __init__(
        self,
        target: str,
        *,
        timeout: float,
        max_message_bytes: int,
        tracing: Tracing,
    ) -> None:
        self._target = target
        self._timeout = timeout
        self._max_message_bytes = max_message_bytes
        self._tracing = tracing
        self._channel: grpc.aio.Channel | None = None
        self._stub: JobServiceStub | None = None

    async def start(self) -> None:
        """Make the channel; it connects when it is first used."""
        self._channel = make_channel(self._target, max_message_bytes=self._max_message_bytes)
        self._stub = JobServiceStub(self._channel)

    async def stop(self, deadline: Deadline) -> None:
        """Close the channel."""
        channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            await channel.close(deadline.remaining() / 2)

    async def create(self, authorization: str, asked: CreateBody) -> bytes:
        """Creates a job; its JSON, without links.

        Raises:
            TidegateError: what the gateway says, in the words of JSON; CREATE_UNKNOWN where it
                said nothing.
        """
        with self._tracing.span("create over websocket"):
            try:
                response = await self._live().CreateJob(
                    create_request(asked),
                    timeout=self._timeout,
                    metadata=(*_metadata(authorization), (FIELD_NAMES_KEY, "json")),
                )
            except grpc.aio.AioRpcError as error:
                raise _of_create(from_rpc_error(error), asked) from error
        return encode_job_json(JobJson.of(job_view(response.job)))

    async def cancel(self, authorization: str, job_id: str) -> None:
        """Asks for the end of a job; when this returns, the request is recorded.

        Raises:
            TidegateError: what the gateway says.
        """
        with self._tracing.span("cancel over websocket"):
            try:
                await self._live().CancelJob(
                    CancelJobRequest(job_id=job_id),
                    timeout=self._timeout,
                    metadata=_metadata(authorization),
                )
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error

    def _live(self) -> JobServiceStub:
        if self._stub is None:
            raise Unavailable("the service is draining", reason=Reason.DRAINING)
        return self._stub


def _metadata(authorization: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", authorization), *trace_metadata())


def _of_create(error: TidegateError, asked: CreateBody) -> TidegateError:
    """The error; without an answer the job may be there all the same."""
    if not isinstance(error, Unavailable) or error.reason is not Reason.UNAVAILABLE:
        return error
    cure = (
        "repeat it with the same request_id" if asked.request_id else "send a request_id next time"
    )
    return Unavailable(
        f"the gateway did not answer; whether the job was created is not known: {cure}",
        reason=Reason.CREATE_UNKNOWN,
        retry_after=1.0,
    )
