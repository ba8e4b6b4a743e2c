"""What happens around every gRPC call: trace, duration, and errors that can be shown.

A TidegateError becomes its status. Any other exception becomes INTERNAL with an incident id, under
which the traceback is in the log; nothing of it reaches the client.
"""

import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import structlog
from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.trace import SpanKind
from typing_extensions import override

from tidegate.chassis.grpc_errors import abort
from tidegate.chassis.incidents import incident
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.tracing import Tracing, extract, trace_id_of
from tidegate.contracts.errors import TidegateError

# In quotes: generic in the stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler; handlers are coroutines or asynchronous generators."""

    def __init__(self, metrics: ChassisMetrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._handlers: dict[str, Handler] = {}

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._handlers[method] = self._wrapped(handler, method)
        return self._handlers[method]

    def _wrapped(self, handler: Handler, method: str) -> Handler:
        behaviour, make = _behaviour_of(handler)
        wrap = self._stream if handler.response_streaming else self._unary
        wrapped: Handler = make(
            wrap(behaviour, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _unary(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> Any:
            async with self._around(method, context):
                return await behaviour(request, context)

        return call

    def _stream(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self._around(method, context):
                answer = behaviour(request, context)
                if inspect.isawaitable(answer):
                    await answer  # it writes to the context by itself
                    return
                async with contextlib.aclosing(answer):
                    async for message in answer:
                        yield message

        return call

    @contextlib.asynccontextmanager
    async def _around(self, method: str, context: Context) -> AsyncIterator[None]:
        began = time.perf_counter()
        code = grpc.StatusCode.CANCELLED.name
        span = self._tracing.start_span(
            method, parent=extract(_headers(context)), kind=SpanKind.SERVER
        )
        # Not detached: the context is that of the call's own task, and ends with it.
        attach(trace.set_span_in_context(span))
        structlog.contextvars.bind_contextvars(trace=trace_id_of(span))
        try:
            yield
            code = _name_of(context.code())
        except TidegateError as error:
            code = error.grpc_code
            await abort(context, error)
        except grpc.aio.AbortError:
            code = _name_of(context.code())
            raise
        except Exception as error:
            code = grpc.StatusCode.INTERNAL.name
            self._metrics.incidents.labels("grpc").inc()
            await abort(context, incident(method, error))
        finally:
            span.set_attribute("rpc.grpc.status", code)
            span.end()
            self._metrics.grpc_seconds.labels(method, code).observe(time.perf_counter() - began)


def _behaviour_of(handler: "Handler") -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The handler's function, and what makes a handler of its kind."""
    if handler.request_streaming and handler.response_streaming:
        return _given(handler.stream_stream), grpc.stream_stream_rpc_method_handler
    if handler.request_streaming:
        return _given(handler.stream_unary), grpc.stream_unary_rpc_method_handler
    if handler.response_streaming:
        return _given(handler.unary_stream), grpc.unary_stream_rpc_method_handler
    return _given(handler.unary_unary), grpc.unary_unary_rpc_method_handler


def _given(behaviour: Callable[..., Any] | None) -> Callable[..., Any]:
    if behaviour is None:
        raise TypeError("a gRPC handler without a function")
    return behaviour


def _headers(context: Context) -> dict[str, str]:
    pairs = context.invocation_metadata() or ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _name_of(code: Any) -> str:
    """A handler may have set a status itself; 0 and None are OK."""
    if not code:
        return grpc.StatusCode.OK.name
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((kind.name for kind in grpc.StatusCode if kind.value[0] == code), "UNKNOWN")
