"""A gRPC server as a component: health, reflection, keepalive, bounded messages and connections."""

from collections.abc import Callable, Mapping

import grpc
import structlog
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from tidegate.chassis import grpc_health
from tidegate.chassis.component import Deadline
from tidegate.chassis.grpc_interceptor import CallInterceptor
from tidegate.chassis.health import Health
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.settings import GrpcServerSettings, ListenAddress
from tidegate.chassis.tasks import ServiceFault
from tidegate.chassis.tracing import Tracing

_log = structlog.stdlib.get_logger(module=__name__)

Registrar = Callable[[grpc.aio.Server], None]

# The rest of the deadline is for those who stop after the server.
_SHARE_OF_DEADLINE = 0.8


class GrpcServer:
    """Serves `services` on `listen`; `address` is the bound one, known after `start`.

    `services` maps the full name of each service to what registers its servicer, for example
    `{"tidegate.v1.JobService": lambda s: add_JobServiceServicer_to_server(servicer, s)}`. Servicers
    raise TidegateErrors. On `stop` new calls are refused and those in flight may end.
    """

    def __init__(
        self,
        name: str,
        listen: ListenAddress,
        services: Mapping[str, Registrar],
        *,
        settings: GrpcServerSettings,
        health: Health,
        metrics: ChassisMetrics,
        tracing: Tracing,
    ) -> None:
        self.name = name
        self._listen = listen
        self._services = services
        self._settings = settings
        self._health = health
        self._interceptor = CallInterceptor(metrics, tracing)
        self._readiness = grpc_health.ReadinessServicer(services)
        self._server: grpc.aio.Server | None = None
        self._address: ListenAddress | None = None

    @property
    def address(self) -> ListenAddress:
        """The address that is bound. Raises RuntimeError before `start`."""
        if self._address is None:
            raise RuntimeError(f"{self.name} is not listening")
        return self._address

    async def start(self) -> None:
        """Bind and serve. Raises ServiceFault if the address cannot be bound."""
        server = grpc.aio.server(
            interceptors=[self._interceptor], options=server_options(self._settings)
        )
        for register in self._services.values():
            register(server)
        add_HealthServicer_to_server(self._readiness, server)
        names = (*self._services, grpc_health.SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        try:
            port = server.add_insecure_port(str(self._listen))
        except RuntimeError as error:
            message = f"cannot listen on {self._listen}: is the port taken?"
            raise ServiceFault(self.name, message) from error
        await server.start()
        self._server = server
        self._address = self._listen.with_port(port)
        self._health.subscribe(self._readiness.set_serving)
        _log.info("listening", server=self.name, address=str(self._address))

    async def stop(self, deadline: Deadline) -> None:
        """Refuse new calls, let those in flight end, cut the rest."""
        self._readiness.close()
        server, self._server, self._address = self._server, None, None
        if server is not None:
            await server.stop(deadline.remaining() * _SHARE_OF_DEADLINE)


def server_options(settings: GrpcServerSettings) -> list[tuple[str, int]]:
    """gRPC channel arguments of a server; milliseconds and bytes."""
    return [
        # Two processes on one port would each get a share of the calls, in silence.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_send_message_length", settings.grpc_max_message_bytes),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping as often as our own channels do.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        # For all that, two minutes of them on an idle connection are too many to the library (seen
        # with 1.85), which cuts it.
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.max_connection_age_ms", _ms(settings.grpc_max_connection_age_seconds)),
        ("grpc.max_connection_age_grace_ms", _ms(settings.grpc_max_connection_age_grace_seconds)),
    ]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
