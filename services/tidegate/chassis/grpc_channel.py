"""gRPC channels between services: every replica gets its share, and a dead one is noticed."""

import msgspec
from grpc import aio

DEFAULT_MAX_MESSAGE_BYTES = 8 * 1024 * 1024

_SERVICE_CONFIG = msgspec.json.encode({"loadBalancingConfig": [{"round_robin": {}}]}).decode()


def make_channel(target: str, *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> aio.Channel:
    """A channel to `target`, `host:port` or a gRPC name with a scheme; connects when first used.

    A host name is resolved to all its addresses (in Kubernetes: use a headless service), between
    which calls alternate. Closing it is the caller's.
    """
    name = target if "://" in target or target.startswith("unix:") else f"dns:///{target}"
    return aio.insecure_channel(name, options=channel_options(max_message_bytes))


def channel_options(max_message_bytes: int) -> list[tuple[str, int | str]]:
    """gRPC channel arguments of a client; milliseconds and bytes."""
    return [
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A killed replica comes back within seconds, under another address: look often.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ]
