"""The streams and consumers, made and migrated by one idempotent step.

Each carries the schema's number in its metadata; a release finds a newer number and leaves the
thing alone, so that a rollback never undoes a migration.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tidegate.chassis.jetstream import (
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    JetStream,
    RefusedError,
)
from tidegate.contracts import subjects
from tidegate.contracts.jobs import JobClass

SCHEMA: Final = 1
_SCHEMA_KEY: Final = "tidegate.schema"
_NANOSECONDS: Final = 1_000_000_000
_DAY: Final = 24 * 3600 * _NANOSECONDS
# The stock OpenAI clients give up on an answer after ten minutes, and then repeat.
_RECENT_SECONDS: Final = 15 * 60

# A worker says "in progress" every third of this; a frozen one's jobs go to another after it.
ACK_WAIT_SECONDS: Final = 10


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
        "metadata": {_SCHEMA_KEY: str(SCHEMA)},
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


def consumer_config(queue: str, job_class: JobClass) -> dict[str, Any]:
    """A queue's consumer of one class, as JetStream's API takes it."""
    return {
        "durable_name": subjects.consumer_name(queue, job_class),
        "filter_subject": subjects.jobs_of_consumer(queue, job_class),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_SECONDS * _NANOSECONDS,
        # Attempts are counted in the log: a bound here would leave messages for ever, blocking
        # their ids and showing in no counter.
        "max_deliver": -1,
        # At least all worker slots of the queue together, or it caps the throughput.
        "max_ack_pending": 10_000,
        "max_waiting": 2_048,
        "metadata": {_SCHEMA_KEY: str(SCHEMA)},
    }


async def apply_streams(jetstream: JetStream, options: StreamOptions) -> list[str]:
    """Makes or updates the streams; returns the names of those it changed.

    Raises:
        NoAnswerError, RefusedError: what JetStream says; repeat the step.
    """
    changed = []
    for config in stream_configs(options):
        name = config["name"]
        info = await _info(jetstream, f"STREAM.INFO.{name}", STREAM_NOT_FOUND)
        if info is None:
            await jetstream.api(f"STREAM.CREATE.{name}", config)
        elif _is_newer(info) or _agrees(config, info):
            continue
        else:
            await jetstream.api(f"STREAM.UPDATE.{name}", config)
        changed.append(name)
    return changed


async def apply_consumers(jetstream: JetStream, queues: Iterable[str]) -> list[str]:
    """Makes or updates each queue's two consumers; returns the names of those it changed.

    Raises:
        NoAnswerError, RefusedError: what JetStream says; repeat the step.
    """
    changed = []
    stream = subjects.JOBS_STREAM
    for queue in queues:
        for job_class in JobClass:
            config = consumer_config(queue, job_class)
            name = config["durable_name"]
            info = await _info(jetstream, f"CONSUMER.INFO.{stream}.{name}", CONSUMER_NOT_FOUND)
            if info is not None and (_is_newer(info) or _agrees(config, info)):
                continue
            await jetstream.api(
                f"CONSUMER.DURABLE.CREATE.{stream}.{name}",
                {"stream_name": stream, "config": config},
            )
            changed.append(name)
    return changed


async def streams_exist(jetstream: JetStream) -> bool:
    """Whether every stream is there.

    Raises:
        NoAnswerError: JetStream does not answer.
    """
    for config in stream_configs(StreamOptions()):
        if await _info(jetstream, f"STREAM.INFO.{config['name']}", STREAM_NOT_FOUND) is None:
            return False
    return True


async def consumer_exists(jetstream: JetStream, queue: str, job_class: JobClass) -> bool:
    """Whether a queue's consumer is there.

    Raises:
        NoAnswerError: JetStream does not answer.
    """
    verb = f"CONSUMER.INFO.{subjects.JOBS_STREAM}.{subjects.consumer_name(queue, job_class)}"
    return await _info(jetstream, verb, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND) is not None


async def _info(jetstream: JetStream, verb: str, *absent: int) -> dict[str, Any] | None:
    try:
        return await jetstream.api(verb)
    except RefusedError as error:
        if error.code in absent:
            return None
        raise


def _is_newer(info: dict[str, Any]) -> bool:
    metadata = info["config"].get("metadata") or {}
    return int(metadata.get(_SCHEMA_KEY, "0")) > SCHEMA


def _agrees(wanted: dict[str, Any], info: dict[str, Any]) -> bool:
    found = info["config"]
    return all(
        key == "metadata" and (found.get(key) or {}).get(_SCHEMA_KEY) == value[_SCHEMA_KEY]
        if key == "metadata"
        else found.get(key, False if value is False else None) == value
        for key, value in wanted.items()
    )
