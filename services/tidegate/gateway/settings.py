"""Settings of the gateway; routes and keys are needed, all else has defaults that start it."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from tidegate.chassis.fleet_key import CacheClientSettings
from tidegate.chassis.http_cors import CorsSettings
from tidegate.chassis.keyring import KeySettings
from tidegate.chassis.settings import (
    DrainSettings,
    GrpcServerSettings,
    HealthSettings,
    ListenAddress,
    LogSettings,
    NatsSettings,
    TracingSettings,
)
from tidegate.chassis.tokens import LONGEST_SECONDS
from tidegate.eventlog.presence import LONGEST_MEMORY


class GatewaySettings(
    LogSettings,
    NatsSettings,
    HealthSettings,
    TracingSettings,
    DrainSettings,
    GrpcServerSettings,
    KeySettings,
    CorsSettings,
    CacheClientSettings,
):
    """Where the gateway listens, what it lets in, and when it ends what has no owner."""

    http_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:8080"), description="host:port of the HTTP API."
    )
    grpc_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:50051"), description="host:port of the gRPC API."
    )
    health_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:9101"),
        description="host:port of /livez, /readyz and /metrics; in a container use `:9101`.",
    )
    grpc_max_message_bytes: int = Field(
        16 * 1024 * 1024,
        gt=0,
        description=(
            "Largest gRPC message in bytes, either way. Above the largest request, so that a "
            "request over that bound is refused by us, in words, and not by the library."
        ),
    )
    routes_file: Path = Field(
        description="File of the routes: which models there are, and each one's queue."
    )
    public_grpc: str = Field(
        "127.0.0.1:50051",
        description="host:port of the gRPC API as clients reach it, told by discovery.",
    )
    public_websocket_url: str = Field(
        "ws://127.0.0.1:8081/v1/ws",
        description="URL of the WebSocket as clients reach it, told by discovery.",
    )
    public_sse_url: str = Field(
        "http://127.0.0.1:8082",
        description=(
            "Base URL of server-sent events as clients reach it, told by discovery and in each "
            "job's links, which append /v1/jobs/<id>/events."
        ),
    )
    result_ttl_seconds: int = Field(
        86_400,
        ge=60,
        description="Seconds that a finished job, its answer and its request id are kept.",
    )
    token_seconds: int = Field(
        300,
        ge=1,
        le=LONGEST_SECONDS,
        description=(
            "Seconds that a token of POST /v1/tokens is good. What is streamed by then goes on; a "
            "page that connects again needs another."
        ),
    )
    default_ttl_seconds: float = Field(
        600.0, ge=1, description="Seconds that a job may wait and run if its request says nothing."
    )
    max_ttl_seconds: float = Field(
        21_600.0,
        ge=1,
        description=(
            "Most seconds that a request may ask for. Below `result_ttl_seconds`: a job that was "
            "ended while its message stayed in the queue must be known as ended until that goes."
        ),
    )
    max_waiting_jobs: int = Field(
        100_000,
        ge=1,
        description=(
            "Jobs that may wait in one queue and class; more are refused with QUEUE_FULL. Counted "
            "at most a second ago, so that a burst may go a little over it."
        ),
    )
    max_jobs_in_flight: int = Field(
        50_000,
        ge=1,
        description=(
            "Jobs that one tenant may have waiting or running; more are refused with "
            "TOO_MANY_JOBS_IN_FLIGHT. Approximate, for it is counted at most a second ago."
        ),
    )
    max_streams_per_tenant: int = Field(
        2_000,
        ge=1,
        description=(
            "gRPC event streams that one tenant may have open at one gateway; more are refused "
            "with TOO_MANY_STREAMS. Each job that is followed is held in memory whole."
        ),
    )
    max_streams: int = Field(
        10_000,
        ge=1,
        description=(
            "gRPC event streams that one gateway carries for all tenants together; more are "
            "refused with TOO_MANY_STREAMS, so that it keeps memory and time for creates."
        ),
    )
    body_seconds: float = Field(
        30.0,
        gt=0,
        description=(
            "Seconds that the body of an HTTP request may take to arrive; then it is refused. "
            "Whoever sends a byte now and then would otherwise hold a connection for ever."
        ),
    )
    settle_seconds: float = Field(
        15.0,
        gt=0,
        description=(
            "Seconds that a create whose acknowledgement was lost is repeated before its outcome "
            "is called unknown. A cluster that loses its leader answers again after 4 to 9."
        ),
    )
    max_embeddings: int = Field(
        128,
        ge=1,
        description=(
            "Requests for embeddings that one gateway calls for at once; more are refused with "
            "TOO_MANY_CALLS. They wait in no queue, and each holds its whole answer in memory."
        ),
    )
    max_embeddings_per_tenant: int = Field(
        32, ge=1, description="The same for one tenant, so that no one takes every place."
    )
    embeddings_seconds: float = Field(
        60.0,
        gt=0,
        description="Seconds that a request for embeddings may take, with all calls for it.",
    )
    heartbeat_seconds: float = Field(
        15.0,
        gt=0,
        le=15.0,
        description=(
            "Seconds without an event after which an OpenAI stream sends a comment, so that "
            "whoever stands in between does not take it for dead."
        ),
    )
    stream_headers_seconds: float = Field(
        5.0,
        gt=0,
        description=(
            "Seconds that the headers of an OpenAI stream wait for the first token at most, so "
            "that an error before it is an HTTP error; 503 where NATS does not answer, after 13 "
            "seconds at most."
        ),
    )
    slow_reader_seconds: float = Field(
        20.0,
        gt=0,
        description=(
            "Seconds that one event may wait for its client to read before the stream is cut with "
            "SLOW_READER. Until then the job's log is held in memory for it."
        ),
    )
    reap_grace_seconds: float = Field(
        5.0,
        ge=0,
        description=(
            "Seconds past its deadline that a running job is left to its worker, which ends it "
            "with what it used so far, before the gateway ends it."
        ),
    )
    reap_scan_age_seconds: float = Field(
        10.0,
        ge=0,
        description=(
            "Seconds that a job waits in the queue before the reaper reads it; most have ended by "
            "then, and cost nothing. A job of a shorter life is expired in time by the gateway "
            "that accepted it, and so much later if that one was killed."
        ),
    )
    cancel_grace_seconds: float = Field(
        15.0,
        ge=0,
        description=(
            "Seconds that a running job's worker has to end it once it was cancelled, before the "
            "gateway ends it."
        ),
    )
    linger_seconds: float = Field(
        10.0,
        ge=0,
        le=LONGEST_MEMORY,
        description=(
            "Seconds without a reader, on any surface, after which a job with the policy to be "
            "cancelled then is. Long enough for a client that lost its connection to come back."
        ),
    )
    linger_answer_seconds: float = Field(
        1.0,
        gt=0,
        le=30,
        description=(
            "Seconds that every process has to say whether it has readers of a job, asked twice "
            "before the job is cancelled. More where processes are slow to answer."
        ),
    )
    stream_replicas: int = Field(
        1, ge=1, le=5, description="Copies of every stream: 1 on one server, 3 in production."
    )
    stream_max_jobs: int = Field(
        1_000_000, ge=1, description="Jobs in all queues together above which creates are refused."
    )
    stream_max_jobs_bytes: int = Field(
        -1, ge=-1, description="Bytes of all waiting and running jobs together. -1: no bound."
    )
    stream_max_events_bytes: int = Field(
        -1, ge=-1, description="Bytes of all logs together. -1: no bound."
    )

    @model_validator(mode="after")
    def _results_outlive_jobs(self) -> Self:
        if self.max_ttl_seconds >= self.result_ttl_seconds:
            raise ValueError("TIDEGATE_MAX_TTL_SECONDS must be below TIDEGATE_RESULT_TTL_SECONDS")
        if self.default_ttl_seconds > self.max_ttl_seconds:
            raise ValueError(
                "TIDEGATE_DEFAULT_TTL_SECONDS must not be above TIDEGATE_MAX_TTL_SECONDS"
            )
        return self
