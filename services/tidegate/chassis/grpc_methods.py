"""The methods of a gRPC service, and what callers send beside their requests."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from tidegate.chassis.http_request import only_value
from tidegate.contracts.errors import InvalidRequest

Context = grpc.aio.ServicerContext[Any, Any]
# As text: at run time the class takes no parameters.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
M = TypeVar("M", bound=Message)


def add_service(server: grpc.aio.Server, name: str, methods: dict[str, Handler]) -> None:
    """Add a service to a server, its methods by their names.

    By hand and not by the generated function, whose handlers answer bytes that are no message
    with INTERNAL, before any code of ours can say what was wrong.
    """
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))


def unary(kind: type[M], behaviour: Callable[[M, Context], Any]) -> Handler:
    """A method that answers a request of a kind with one message."""
    return grpc.unary_unary_rpc_method_handler(_parsed(kind, behaviour), None, _encode)


def stream(kind: type[M], behaviour: Callable[[M, Context], Any]) -> Handler:
    """A method that answers a request of a kind with messages, as it writes them."""
    return grpc.unary_stream_rpc_method_handler(_parsed(kind, behaviour), None, _encode)


def authorization(context: Context) -> str | None:
    """The caller's credentials; None: none are given.

    Raises:
        InvalidRequest: there are several.
    """
    return only_value("authorization", metadata_values(context, "authorization"))


def metadata_values(context: Context, name: str) -> list[str]:
    """All texts that the caller's metadata have under a name."""
    metadata = context.invocation_metadata() or ()
    return [value for key, value in metadata if key == name and isinstance(value, str)]


def _parsed(
    kind: type[M], behaviour: Callable[[M, Context], Any]
) -> Callable[[bytes, Context], Any]:
    async def call(request: bytes, context: Context) -> Any:
        try:
            message = kind.FromString(request)
        except DecodeError as error:
            raise InvalidRequest(f"the request is not a {kind.DESCRIPTOR.full_name}") from error
        return await behaviour(message, context)

    return call


def _encode(message: Message) -> bytes:
    return message.SerializeToString()
