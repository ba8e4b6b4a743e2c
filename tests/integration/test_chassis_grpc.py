"""Without these a client could hang on a drained server, see our insides, or guess what failed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import (
    reflection_pb2,
    reflection_pb2_grpc,
)
from opentelemetry.trace import get_current_span

from tidegate.chassis.component import Deadline
from tidegate.chassis.grpc_channel import make_channel
from tidegate.chassis.grpc_errors import DETAILS_KEY, from_rpc_error
from tidegate.chassis.grpc_server import GrpcServer
from tidegate.chassis.health import Health
from tidegate.chassis.metrics import ChassisMetrics, make_registry
from tidegate.chassis.settings import GrpcServerSettings, ListenAddress
from tidegate.chassis.tasks import ServiceFault
from tidegate.chassis.tracing import Tracing, trace_id_of
from tidegate.contracts.errors import InternalError, NotFound, Unavailable

SERVICE = "test.v1.EchoService"
SECRET = "my secret diary"
TRACE = "0af7651916cd43dd8448eb211c80319c"
Context = grpc.aio.ServicerContext[bytes, bytes]


class Echo:
    """Handlers that do what the request says; bytes in, bytes out."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def unary(self, request: bytes, context: Context) -> bytes:
        await self._obey(request, context)
        return trace_id_of(get_current_span()).encode()

    async def stream(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        await self._obey(request, context)
        yield b"last"

    async def writing(self, request: bytes, context: Context) -> None:
        await context.write(b"first")
        await self._obey(request, context)

    async def _obey(self, request: bytes, context: Context) -> None:
        match request:
            case b"not found":
                raise NotFound("No such job.", field="job_id", job_id="j1")
            case b"crash":
                raise ValueError(SECRET)
            case b"abort":
                await context.abort(grpc.StatusCode.ABORTED, "own words")
            case b"wait":
                self.entered.set()
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise

    def register(self, server: grpc.aio.Server) -> None:
        handlers: dict[str, Any] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream),
            "Writing": grpc.unary_stream_rpc_method_handler(self.writing),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


class Served:
    """A running server, a channel to it, and what to look at."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        self.echo = Echo()
        self.health = Health()
        self.registry = make_registry("test")
        self.server = GrpcServer(
            "grpc",
            ListenAddress(listen),
            {SERVICE: self.echo.register},
            settings=GrpcServerSettings(grpc_max_message_bytes=1000),
            health=self.health,
            metrics=ChassisMetrics(self.registry),
            tracing=Tracing(),
        )
        self.health.set("lifecycle", True)

    async def start(self) -> None:
        await self.server.start()
        self.channel: Any = make_channel(self.server.address)  # calls without stubs have no types

    def unary(self, request: bytes, **options: Any) -> Any:
        return self.channel.unary_unary(f"/{SERVICE}/Unary")(request, **options)

    def stream(self, request: bytes, method: str = "Stream") -> Any:
        return self.channel.unary_stream(f"/{SERVICE}/{method}")(request)

    async def until_counted(self, method: str, code: str) -> None:
        """The answer is on its way before the call is measured."""
        labels = {"method": f"/{SERVICE}/{method}", "code": code}
        while not self.registry.get_sample_value("tidegate_grpc_server_seconds_count", labels):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    served = Served()
    await served.start()
    try:
        yield served
    finally:
        await served.channel.close()
        await served.server.stop(Deadline(0.1))


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server alone with its test."""
    async with serving() as it:
        yield it


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (drained(call) if hasattr(call, "__aiter__") else call)
    return caught.value


async def drained(call: Any) -> list[Any]:
    return [message async for message in call]


async def test_calls_are_answered_and_measured(served: Served) -> None:
    await served.unary(b"")
    assert [message async for message in served.stream(b"")] == [b"first", b"last"]
    assert [message async for message in served.stream(b"", "Writing")] == [b"first"]
    for method in ("Unary", "Stream", "Writing"):
        await served.until_counted(method, "OK")


@pytest.mark.parametrize("method", ["Unary", "Stream", "Writing"])
async def test_an_error_of_ours_arrives_whole(served: Served, method: str) -> None:
    request = b"not found"
    call = served.unary(request) if method == "Unary" else served.stream(request, method)
    error = await failure(call)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "No such job."
    received = from_rpc_error(error)
    assert isinstance(received, NotFound)
    assert (received.field, received.job_id) == ("job_id", "j1")
    await served.until_counted(method, "NOT_FOUND")


@pytest.mark.parametrize("method", ["Unary", "Stream", "Writing"])
async def test_a_crash_shows_a_number_and_nothing_else(
    served: Served, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call = served.unary(b"crash") if method == "Unary" else served.stream(b"crash", method)
    error = await failure(call)
    assert error.code() is grpc.StatusCode.INTERNAL
    trailer = dict(error.trailing_metadata() or ())[DETAILS_KEY]
    assert SECRET not in f"{error.details()}{trailer!r}"
    assert "Traceback" not in f"{error.details()}{trailer!r}"
    assert isinstance(from_rpc_error(error), InternalError)
    number = (error.details() or "").partition("incident ")[2].rstrip(").")
    assert number
    assert number in capsys.readouterr().out, "whoever gets the number finds the log line"


async def test_a_handlers_own_abort_is_left_alone(served: Served) -> None:
    error = await failure(served.unary(b"abort"))
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "own words")
    await served.until_counted("Unary", "ABORTED")


async def test_a_caller_that_goes_cancels_its_handler(served: Served) -> None:
    call = served.stream(b"wait")
    assert await call.read() == b"first"
    await served.echo.entered.wait()
    call.cancel()
    await served.echo.cancelled.wait()


async def test_a_callers_trace_reaches_the_handler_and_only_that_one(served: Served) -> None:
    metadata = (("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)
    assert await served.unary(b"", metadata=metadata) == TRACE.encode()
    assert await served.unary(b"") != TRACE.encode()


async def test_a_message_over_the_bound_is_refused(served: Served) -> None:
    error = await failure(served.unary(b"x" * 2000))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unknown_method_is_unimplemented(served: Served) -> None:
    call = served.channel.unary_unary(f"/{SERVICE}/Nothing")
    assert (await failure(call(b""))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_follows_readiness_and_watchers_do_not_hold_up_the_drain(
    served: Served,
) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, 2
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    assert (await stub.Check(request)).status == serving
    watch = stub.Watch(request)
    assert (await watch.read()).status == serving
    served.health.set("lifecycle", False, "draining")
    assert (await watch.read()).status == not_serving
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == not_serving
    deadline = Deadline(30)
    await served.server.stop(deadline)
    assert deadline.remaining() > 20
    assert await watch.read() is grpc.aio.EOF


async def test_health_knows_what_it_does_not_serve(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    error = await failure(stub.Check(health_pb2.HealthCheckRequest(service="no.Such")))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_call_in_flight_may_end_while_new_ones_are_refused(served: Served) -> None:
    waiting = asyncio.ensure_future(served.unary(b"wait"))
    await served.echo.entered.wait()
    address = served.server.address
    stopping = asyncio.create_task(served.server.stop(Deadline(30)))
    await asyncio.sleep(0)
    async with make_channel(address) as late:
        call: Any = late.unary_unary(f"/{SERVICE}/Unary")
        assert isinstance(from_rpc_error(await failure(call(b""))), Unavailable)
    assert not waiting.done()
    served.echo.release.set()
    await waiting
    await stopping


async def test_a_call_that_does_not_end_is_cut_at_the_deadline(served: Served) -> None:
    waiting = asyncio.ensure_future(served.unary(b"wait"))
    await served.echo.entered.wait()
    await served.server.stop(Deadline(0.1))
    assert isinstance(from_rpc_error(await failure(waiting)), Unavailable)


async def test_reflection_lists_the_services(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()
    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_a_taken_port_is_a_fault_and_never_shared_in_silence(served: Served) -> None:
    second = Served(served.server.address)
    with pytest.raises(ServiceFault, match="cannot listen"):
        await second.start()
