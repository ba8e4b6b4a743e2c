"""The NATS server's configuration: one user per service, each with what it needs and no more.

Nobody may publish `live.>`: only the server does, after storing, so that what a reader hears is in
the log. An inbox belongs to its service, so that no other can listen to its answers.
"""

from pathlib import Path
from typing import Final

# The bundled server's bound on one message, which bounds prompts and whole answers.
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024

_LOOK_AT_STREAMS: Final = "$JS.API.STREAM.INFO.*"
_READ_JOBS_AND_LOGS: Final = ["$JS.API.STREAM.MSG.GET.JOBS", "$JS.API.STREAM.MSG.GET.EVENTS"]

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
            "$KV.tidegate_breakers.>",
            _LOOK_AT_STREAMS,
            "$JS.API.STREAM.MSG.GET.*",
            "$JS.API.STREAM.CREATE.*",
            "$JS.API.STREAM.UPDATE.*",
            "$JS.API.STREAM.MSG.DELETE.JOBS",
            "$JS.API.STREAM.MSG.DELETE.CONTROL",
            "$JS.API.STREAM.PURGE.DLQ",
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
}


def nats_config(address: str, store: Path, passwords: dict[str, str]) -> str:
    """The server's configuration file. It holds the passwords: write it for its owner only."""
    users = "\n".join(_user(name, passwords[name]) for name in USERS)
    return (
        f'listen: "{address}"\n'
        "server_name: tidegate\n"
        f"max_payload: {MAX_PAYLOAD_BYTES}\n"
        f'jetstream {{ store_dir: "{store.absolute()}" }}\n'
        f"authorization {{\n  users: [\n{users}\n  ]\n}}\n"
    )


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
