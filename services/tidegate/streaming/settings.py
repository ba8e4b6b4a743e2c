"""Settings of streaming; all but who is let in have defaults with which it starts."""

from pydantic import Field

from tidegate.chassis.http_cors import CorsSettings
from tidegate.chassis.keyring import KeySettings
from tidegate.chassis.settings import (
    DrainSettings,
    HealthSettings,
    ListenAddress,
    LogSettings,
    NatsSettings,
    TracingSettings,
)


class StreamingSettings(
    LogSettings,
    NatsSettings,
    HealthSettings,
    TracingSettings,
    DrainSettings,
    KeySettings,
    CorsSettings,
):
    """Where streaming listens, and what one client may hold of it."""

    websocket_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:8081"), description="host:port of the WebSocket, at /v1/ws."
    )
    sse_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:8082"),
        description="host:port of server-sent events, at /v1/jobs/{id}/events.",
    )
    health_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:9104"),
        description="host:port of /livez, /readyz and /metrics; in a container use `:9104`.",
    )
    gateway_target: str = Field(
        "127.0.0.1:50051",
        description=(
            "host:port of the gateway's gRPC API, to which creates and cancels are passed on. In "
            "Kubernetes a headless service, so that they spread over all gateways."
        ),
    )
    gateway_timeout_seconds: float = Field(
        20.0,
        gt=0,
        description=(
            "Seconds for a create or cancel over a socket. Above the gateway's "
            "TIDEGATE_SETTLE_SECONDS, so that its own word on an unknown outcome arrives."
        ),
    )
    websocket_max_sockets: int = Field(
        10_000,
        ge=1,
        description="Sockets that one process carries; more are closed with 4429. Idle: 20 KiB.",
    )
    websocket_max_jobs: int = Field(
        256, ge=1, description="Jobs that one socket may be subscribed to at once."
    )
    websocket_max_frame_bytes: int = Field(
        8 * 1024 * 1024,
        ge=1024,
        description="Largest frame of a client in bytes; a larger one closes with 1009.",
    )
    websocket_buffer_bytes: int = Field(
        1024 * 1024,
        ge=128 * 1024,
        description=(
            "Bytes that may wait in this process for one socket. A client that reads so slowly "
            "that live events pile up beyond it is closed with 1013, and resumes."
        ),
    )
    websocket_hello_seconds: float = Field(
        30.0, gt=0, description="Seconds until a socket that asked for nothing closes with 4408."
    )
    websocket_ping_seconds: float = Field(
        20.0,
        gt=0,
        description="Seconds between pings, and again until a client that sends no pong is cut.",
    )
    sse_max_streams: int = Field(
        10_000, ge=1, description="SSE streams that one process carries; more get a 429."
    )
    sse_heartbeat_seconds: float = Field(
        15.0,
        gt=0,
        le=15,
        description="Seconds of silence after which an SSE stream beats; proxies cut silent ones.",
    )
    stream_stall_seconds: float = Field(
        30.0,
        gt=0,
        description=(
            "Seconds that a client may take to read what waits for it (about 64 KiB) before it is "
            "cut, on either surface. It resumes where it was."
        ),
    )
    stream_drain_spread_seconds: float = Field(
        5.0,
        ge=0,
        description=(
            "Seconds over which a drain spreads the end of sockets and streams, so that clients "
            "do not reconnect all at once. At most half of the time that is left."
        ),
    )
