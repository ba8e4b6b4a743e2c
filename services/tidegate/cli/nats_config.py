"""The NATS server's configuration: one user per service, each with what it needs and no more.

Nobody may publish `live.>`: only the server does, after storing, so that what a reader hears is in
the log. An inbox belongs to its service, so that no other can listen to its answers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# The bundled server's bound on one message, which bounds prompts and whole answers.
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024

# Clients of a server that is told to go move to the others, a few at a time.
_LAME_DUCK: Final = ['lame_duck_grace_period: "5s"', 'lame_duck_duration: "30s"']
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")

_LOOK_AT_STREAMS: Final = "$JS.API.STREAM.INFO.*"
_READ_JOBS_AND_LOGS: Final = ["$JS.API.STREAM.MSG.GET.JOBS", "$JS.API.STREAM.MSG.GET.EVENTS"]

# Who keeps the number of workers in step with the queues; not every installation has one.
OPERATOR: Final = "operator"

# What each user may publish and subscribe to.
USERS: Final[dict[str, tuple[list[str], list[str]]]] = {
    "gateway": (
        [
            "jobs.>",
            "events.>",
            "control.>",
            "nudge.>",
            "recent.>",
            "dlq.>",
            "left.>",
            "readers.>",
            "here.>",
            "figures.ask.>",
            "wake.>",
            "$KV.tidegate_breakers.>",
            _LOOK_AT_STREAMS,
            "$JS.API.STREAM.MSG.GET.*",
            "$JS.API.STREAM.CREATE.*",
            "$JS.API.STREAM.UPDATE.*",
            "$JS.API.STREAM.MSG.DELETE.JOBS",
            "$JS.API.STREAM.MSG.DELETE.CONTROL",
            "$JS.API.STREAM.PURGE.DLQ",
            "$JS.API.STREAM.PURGE.EVENTS",
            "$JS.API.CONSUMER.DURABLE.CREATE.JOBS.*",
            "$JS.API.CONSUMER.INFO.JOBS.*",
            "$JS.API.DIRECT.GET.*",
            "$JS.API.DIRECT.GET.*.>",
        ],
        [
            "_INBOX_gateway.>",
            "live.>",
            "breaker.>",
            "left.>",
            "readers.>",
            "here.>",
            "figures.here.>",
        ],
    ),
    "worker": (
        [
            "events.>",
            "dlq.>",
            "flights.>",
            # A worker reads logs too: those of jobs whose answer is another's as well.
            "left.>",
            "here.>",
            "figures.here.>",
            "load.>",
            _LOOK_AT_STREAMS,
            *_READ_JOBS_AND_LOGS,
            "$JS.API.STREAM.MSG.GET.FLIGHTS",
            "$JS.API.STREAM.MSG.GET.CONTROL",
            "$JS.API.STREAM.MSG.GET.KV_tidegate_breakers",
            "$JS.API.CONSUMER.INFO.JOBS.*",
            "$JS.API.CONSUMER.MSG.NEXT.JOBS.*",
            "$JS.API.DIRECT.GET.EVENTS",
            "$JS.API.DIRECT.GET.EVENTS.>",
            "$KV.tidegate_breakers.>",
            "$JS.API.DIRECT.GET.KV_tidegate_breakers",
            "$JS.ACK.JOBS.>",
        ],
        ["_INBOX_worker.>", "nudge.>", "breaker.>", "live.>", "readers.>", "figures.ask.>"],
    ),
    "cache": (
        [
            "honesty.>",
            "$KV.tidegate_breakers.>",
            _LOOK_AT_STREAMS,
            "$JS.API.STREAM.MSG.GET.HONESTY",
            "$JS.API.STREAM.MSG.GET.KV_tidegate_breakers",
            "$JS.API.DIRECT.GET.HONESTY",
            "$JS.API.DIRECT.GET.KV_tidegate_breakers",
        ],
        ["_INBOX_cache.>", "breaker.>"],
    ),
    "streaming": (
        [
            "left.>",
            "here.>",
            _LOOK_AT_STREAMS,
            *_READ_JOBS_AND_LOGS,
            "$JS.API.DIRECT.GET.EVENTS",
            "$JS.API.DIRECT.GET.EVENTS.>",
        ],
        ["_INBOX_streaming.>", "live.>", "readers.>"],
    ),
    # It measures the queues, and makes the consumers of those that no gateway routes to.
    OPERATOR: (
        [
            "$JS.API.CONSUMER.LIST.JOBS",
            "$JS.API.CONSUMER.INFO.JOBS.*",
            "$JS.API.CONSUMER.DURABLE.CREATE.JOBS.*",
            "$JS.API.CONSUMER.DELETE.JOBS.*",
            "$JS.API.DIRECT.GET.JOBS",
            "$JS.API.DIRECT.GET.JOBS.>",
        ],
        ["_INBOX_operator.>", "wake.*", "load.*.*"],
    ),
}


# A person with `nats` or `nsc` in hand, and the tools of an operator: everything but `$SYS`.
ADMIN: Final = "admin"
# What the servers of a cluster say to each other.
ROUTES: Final = "routes"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Servers that keep each other's copies. `peers` are host:port of all, this one among them."""

    name: str
    address: str
    peers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NatsServer:
    """One server. `address`: host:port of its clients; `store` is JetStream's directory.

    `monitor` is host:port of the probes, `pid_file` what `nats-server --signal` needs. `tls` is a
    directory of tls.crt, tls.key and ca.crt. With `sync_always` what was acknowledged outlives a
    power cut, at the price of a disk's flush for each append.
    """

    address: str
    store: Path
    name: str = "tidegate"
    monitor: str | None = None
    pid_file: Path | None = None
    cluster: Cluster | None = None
    tls: Path | None = None
    sync_always: bool = False


def password_users(server: NatsServer, *, admin: bool, operator: bool) -> list[str]:
    """Whose passwords the configuration of a server needs; these two may be left out of it."""
    services = [name for name in USERS if operator or name != OPERATOR]
    return [*services, *([ADMIN] if admin else []), *([ROUTES] if server.cluster else [])]


def nats_config(server: NatsServer, passwords: Mapping[str, str]) -> str:
    """The server's configuration file. It holds the passwords: write it for its owner only.

    `passwords` are those of `password_users`. Raises ValueError for one that would need quoting.
    """
    for user, password in passwords.items():
        if not _PLAIN.fullmatch(password):
            raise ValueError(f"the password of {user} may hold letters, digits, - and _ alone")
    blocks = [
        f'listen: "{server.address}"',
        f'server_name: "{server.name}"',
        f"max_payload: {MAX_PAYLOAD_BYTES}",
        _jetstream(server),
        *([f'http: "{server.monitor}"'] if server.monitor else []),
        *([f'pid_file: "{server.pid_file}"'] if server.pid_file else []),
        *(_LAME_DUCK if server.cluster else []),
        *([_tls(server.tls)] if server.tls else []),
        *([_cluster(server.cluster, server.tls, passwords[ROUTES])] if server.cluster else []),
        _authorization(passwords),
    ]
    return "\n".join(blocks) + "\n"


def _jetstream(server: NatsServer) -> str:
    sync = ", sync_interval: always" if server.sync_always else ""
    return f'jetstream {{ store_dir: "{server.store.absolute()}"{sync} }}'


def _tls(directory: Path) -> str:
    return f'tls {{ cert_file: "{directory / "tls.crt"}", key_file: "{directory / "tls.key"}" }}'


def _cluster(cluster: Cluster, tls: Path | None, password: str) -> str:
    routes = ", ".join(f'"nats://{ROUTES}:{password}@{peer}"' for peer in cluster.peers)
    lines = [
        f'  name: "{cluster.name}"',
        f'  listen: "{cluster.address}"',
        f'  authorization {{ user: {ROUTES}, password: "{password}", timeout: 5 }}',
        f"  routes: [{routes}]",
        # Clients go by the names that they were given: addresses of pods change.
        "  no_advertise: true",
    ]
    if tls is not None:
        files = f'cert_file: "{tls / "tls.crt"}", key_file: "{tls / "tls.key"}"'
        lines.append(f'  tls {{ {files}, ca_file: "{tls / "ca.crt"}", timeout: 5 }}')
    return "cluster {\n" + "\n".join(lines) + "\n}"


def _authorization(passwords: Mapping[str, str]) -> str:
    needed = (name for name in USERS if name != OPERATOR or name in passwords)
    users = [_user(name, passwords[name]) for name in needed]
    if ADMIN in passwords:
        users.append(f'    {{ user: {ADMIN}, password: "{passwords[ADMIN]}" }}')
    return "authorization {\n  users: [\n" + "\n".join(users) + "\n  ]\n}"


def _user(name: str, password: str) -> str:
    publish, subscribe = USERS[name]
    return (
        f'    {{ user: {name}, password: "{password}", permissions: {{\n'
        f"      publish: [{_quoted(publish)}]\n"
        f"      subscribe: [{_quoted(subscribe)}]\n"
        "    } }"
    )


def _quoted(subjects: list[str]) -> str:
    return ", ".join(f'"{subject}"' for subject in subjects)
