"""The gRPC surface: JobService of tidegate.v1, a projection of the core."""

import asyncio
import contextlib
from typing import Final

import grpc

from tidegate.chassis.grpc_methods import (
    Context,
    add_service,
    authorization,
    metadata_values,
    stream,
    unary,
)
from tidegate.chassis.keyring import Caller, Keyring
from tidegate.contracts.create import FIELD_NAMES_KEY, JSON_NAMES
from tidegate.contracts.errors import Reason, ResourceExhausted
from tidegate.gateway.jobs import Jobs
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.proto import event_message, job_message, new_job
from tidegate.v1 import jobs_pb2 as pb

SERVICE: Final = "tidegate.v1.JobService"


class JobService:
    """The servicer; `slow_reader` is seconds that one event may wait to be read."""

    def __init__(
        self, jobs: Jobs, keyring: Keyring, metrics: GatewayMetrics, *, slow_reader: float
    ) -> None:
        self._jobs = jobs
        self._keyring = keyring
        self._metrics = metrics
        self._slow_reader = slow_reader

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        methods = {
            "CreateJob": unary(pb.CreateJobRequest, self._create),
            "GetJob": unary(pb.GetJobRequest, self._get),
            "ListJobs": unary(pb.ListJobsRequest, self._list),
            "CancelJob": unary(pb.CancelJobRequest, self._cancel),
            "DeleteJob": unary(pb.DeleteJobRequest, self._delete),
            "StreamJobEvents": stream(pb.StreamJobEventsRequest, self._stream),
        }
        add_service(server, SERVICE, methods)

    async def _create(self, request: pb.CreateJobRequest, context: Context) -> pb.CreateJobResponse:
        names = JSON_NAMES if metadata_values(context, FIELD_NAMES_KEY) == ["json"] else None
        job = await self._jobs.create(self._caller(context), new_job(request, names))
        return pb.CreateJobResponse(job=job_message(job))

    async def _get(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        job = await self._jobs.get(self._reader(context), request.job_id)
        return pb.GetJobResponse(job=job_message(job))

    async def _list(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        page = await self._jobs.page(self._caller(context), request.page_size, request.page_token)
        return pb.ListJobsResponse(
            jobs=[job_message(job) for job in page.jobs], next_page_token=page.next_page_token
        )

    async def _cancel(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        job = await self._jobs.cancel(self._reader(context), request.job_id)
        return pb.CancelJobResponse(job=job_message(job))

    async def _delete(self, request: pb.DeleteJobRequest, context: Context) -> pb.DeleteJobResponse:
        await self._jobs.delete(self._caller(context), request.job_id)
        return pb.DeleteJobResponse()

    async def _stream(self, request: pb.StreamJobEventsRequest, context: Context) -> None:
        job_id = request.job_id
        batches = self._jobs.follow(self._reader(context), job_id, request.after_sequence)
        with self._metrics.streams.track_inprogress():
            async with contextlib.aclosing(batches):
                async for batch in batches:
                    for entry in batch:
                        await self._write(context, event_message(job_id, entry))

    async def _write(self, context: Context, message: pb.StreamJobEventsResponse) -> None:
        try:
            async with asyncio.timeout(self._slow_reader):
                await context.write(message)
        except TimeoutError:
            self._metrics.slow_readers.inc()
            raise ResourceExhausted(
                f"events were not read for {self._slow_reader:g} seconds; resume after the last "
                "sequence that was",
                reason=Reason.SLOW_READER,
                retry_after=1.0,
            ) from None

    def _caller(self, context: Context) -> Caller:
        """Who calls with a key."""
        return self._keyring.authenticate(authorization(context))

    def _reader(self, context: Context) -> Caller:
        """Who calls with a key, or with a token where that is enough."""
        return self._keyring.authenticate_reader(authorization(context))
