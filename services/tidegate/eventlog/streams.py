"""The streams and consumers, made and migrated by one idempotent step.

Each carries the schema's number in its metadata; a release finds a newer number and leaves the
thing alone, so that a rollback never undoes a migration.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tidegate.chassis.jetstream import STREAM_NOT_FOUND, JetStream, RefusedError
from tidegate.chassis.jetstream_consumers import consumer_info, ensure_consumer
from tidegate.contracts import subjects
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.queue_consumers import (
    SCHEMA,
    SCHEMA_KEY,
    agrees,
    gateways_change,
    is_newer,
)

_NANOSECONDS: Final = 1_000_000_000
_DAY: Final = 24 * 3600 * _NANOSECONDS
# The stock OpenAI clients give up on an answer after ten minutes, and then repeat.
_RECENT_SECONDS: Final = 15 * 60


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What an installation chooses: copies of each stream, and bounds in messages and bytes."""

    replicas: int = 1
    max_jobs: int = 1_000_000
    max_jobs_bytes: int = -1
    max_events_bytes: int = -1


def stream_configs(options: StreamOptions) -> list[dict[str, Any]]:
    """The streams, as JetStream's API takes them."""
    common = {
        "storage": "file",
        "num_replicas": options.replicas,
        "allow_direct": True,
        "metadata": {SCHEMA_KEY: str(SCHEMA)},
    }
    jobs = common | {
        "name": subjects.JOBS_STREAM,
        "subjects": [subjects.JOBS_ALL],
        "retention": "workqueue",
        # A full queue refuses; it never drops a job that was accepted.
        "discard": "new",
        "max_msgs": options.max_jobs,
        "max_bytes": options.max_jobs_bytes,
    }
    events = common | {
        "name": subjects.EVENTS_STREAM,
        "subjects": [subjects.EVENTS_ALL],
        "retention": "limits",
        "discard": "new",
        "max_bytes": options.max_events_bytes,
        "allow_rollup_hdrs": True,
        "allow_msg_ttl": True,
        "republish": {"src": subjects.EVENTS_ALL, "dest": subjects.LIVE_DESTINATION},
    }
    control = common | {
        "name": subjects.CONTROL_STREAM,
        "subjects": [subjects.CONTROL_ALL],
        "retention": "limits",
        "discard": "old",
        "max_msgs_per_subject": 1,
        # Longer than any job may live.
        "max_age": 7 * _DAY,
    }
    return [jobs, events, control, *_around_the_jobs(common), *_of_the_cache(common)]


def _around_the_jobs(common: dict[str, Any]) -> list[dict[str, Any]]:
    dead_letters = common | {
        "name": subjects.DLQ_STREAM,
        "subjects": [subjects.DLQ_ALL],
        "retention": "limits",
        "discard": "old",
        "max_msgs_per_subject": 1,
        # In a long outage every interactive job leaves one.
        "max_msgs": 1_000_000,
        "max_age": 7 * _DAY,
    }
    # A key-value bucket, so that `nats kv` shows it. Readers hear of a change from the server
    # alone, once it is stored.
    breakers = common | {
        "name": subjects.BREAKERS_STREAM,
        "subjects": [subjects.BREAKERS_ALL],
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_age": 7 * _DAY,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "republish": {
            "src": subjects.BREAKERS_KEYS,
            "dest": subjects.BREAKERS_LIVE_DESTINATION,
        },
    }
    recent = common | {
        "name": subjects.RECENT_STREAM,
        "subjects": [subjects.RECENT_ALL],
        # A convenience for clients that repeat blindly; not worth a disk.
        "storage": "memory",
        "retention": "limits",
        "discard": "old",
        "max_msgs_per_subject": 1,
        "max_age": _RECENT_SECONDS * _NANOSECONDS,
        "max_msgs": 1_000_000,
    }
    return [dead_letters, breakers, recent]


def _of_the_cache(common: dict[str, Any]) -> list[dict[str, Any]]:
    # A lease each, which is renewed or runs out: none of it outlives the calls that it is about.
    flights = common | {
        "name": subjects.FLIGHTS_STREAM,
        "subjects": [subjects.FLIGHTS_ALL],
        "storage": "memory",
        "retention": "limits",
        "discard": "old",
        "max_msgs_per_subject": 1,
        "allow_msg_ttl": True,
        # What a lease that says no time of its own would have.
        "max_age": 60 * _NANOSECONDS,
        "max_msgs": 1_000_000,
    }
    # What was learnt about a tenant's hits holds until something else is learnt.
    honesty = common | {
        "name": subjects.HONESTY_STREAM,
        "subjects": [subjects.HONESTY_ALL],
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
    }
    return [flights, honesty]


async def apply_streams(jetstream: JetStream, options: StreamOptions) -> list[str]:
    """Makes or updates the streams; returns the names of those it changed.

    Raises:
        NoAnswerError, RefusedError: what JetStream says; repeat the step.
    """
    changed = []
    for config in stream_configs(options):
        name = config["name"]
        found = await _stream_config(jetstream, name)
        if found is None:
            await jetstream.api(f"STREAM.CREATE.{name}", config)
        elif is_newer(found) or agrees(config, found):
            continue
        else:
            await jetstream.api(f"STREAM.UPDATE.{name}", config)
        changed.append(name)
    return changed


async def apply_consumers(jetstream: JetStream, queues: Iterable[str]) -> list[str]:
    """Makes or updates the two consumers of each queue that a gateway routes to.

    Returns the names of those it changed. Of those that the operator made, the mark goes.

    Raises:
        NoAnswerError, RefusedError: what JetStream says; repeat the step.
    """
    changed = []
    for queue in queues:
        for job_class in JobClass:
            name = subjects.consumer_name(queue, job_class)
            change = partial(gateways_change, queue, job_class)
            if await ensure_consumer(jetstream, subjects.JOBS_STREAM, name, change):
                changed.append(name)
    return changed


async def streams_exist(jetstream: JetStream) -> bool:
    """Whether every stream is there.

    Raises:
        NoAnswerError: JetStream does not answer.
    """
    for config in stream_configs(StreamOptions()):
        if await _stream_config(jetstream, config["name"]) is None:
            return False
    return True


async def consumer_exists(jetstream: JetStream, queue: str, job_class: JobClass) -> bool:
    """Whether a queue's consumer is there.

    Raises:
        NoAnswerError: JetStream does not answer.
    """
    name = subjects.consumer_name(queue, job_class)
    try:
        return await consumer_info(jetstream, subjects.JOBS_STREAM, name) is not None
    except RefusedError as error:
        if error.code == STREAM_NOT_FOUND:
            return False
        raise


async def _stream_config(jetstream: JetStream, name: str) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = (await jetstream.api(f"STREAM.INFO.{name}"))["config"]
    except RefusedError as error:
        if error.code == STREAM_NOT_FOUND:
            return None
        raise
    return config
