"""`grpc.health.v1.Health`, following the readiness of the process.

The library's own servicer keeps its watchers open for ever, so that one watching client would hold
up every drain until the deadline. This one ends them with NOT_SERVING when the server stops.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
)
from grpc_health.v1.health_pb2_grpc import HealthServicer

SERVICE = "grpc.health.v1.Health"


class ReadinessServicer(HealthServicer):  # type: ignore[misc]
    """Answers for `services` and for the server as a whole (the empty name)."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._serving = False
        self._closed = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Tell all watchers whether calls are welcome."""
        self._serving = serving and not self._closed
        self._wake()

    def close(self) -> None:
        """NOT_SERVING from now on; watchers hear it and their calls end."""
        self._closed = True
        self.set_serving(False)

    async def Check(
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> HealthCheckResponse:
        """The state of one service, NOT_FOUND for an unknown one."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return HealthCheckResponse(status=self._status(request.service))

    async def Watch(
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[HealthCheckResponse]:
        """The state now and at every change, until the server stops."""
        told = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                told = status
                yield HealthCheckResponse(status=status)
            if self._closed:
                return
            await changed.wait()

    def _status(self, service: str) -> int:
        status: int = HealthCheckResponse.SERVICE_UNKNOWN
        if service in self._services:
            serving, not_serving = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
            status = serving if self._serving else not_serving
        return status

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
