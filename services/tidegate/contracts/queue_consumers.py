"""The two consumers of a queue: what they are, who may have made them, what a newer release does.

A gateway makes those of the queues that it routes to, and the operator those of the queues that it
keeps workers for; whoever comes first. One that the operator made carries its mark, and the first
gateway that routes to the queue takes that off: a consumer with a mark is one that no gateway has
cared for yet.

Streams and consumers carry the schema's number in their metadata. A release that finds a newer
number leaves the thing alone, so that a rollback never undoes a migration.
"""

from collections.abc import Mapping
from typing import Any, Final

from tidegate.contracts.jobs import JobClass
from tidegate.contracts.subjects import consumer_name, jobs_of_consumer

Config = dict[str, Any]

SCHEMA: Final = 1
SCHEMA_KEY: Final = "tidegate.schema"
# Its value names the operator: `<namespace>/<name>`.
OPERATOR_MARK: Final = "tidegate.operator"

# A worker says "in progress" every third of this; a frozen one's jobs go to another after it.
ACK_WAIT_SECONDS: Final = 10

_METADATA: Final = "metadata"
_NANOSECONDS: Final = 1_000_000_000


def consumer_config(queue: str, job_class: JobClass) -> Config:
    """A queue's consumer of one class, as JetStream's API takes it, without any mark."""
    return {
        "durable_name": consumer_name(queue, job_class),
        "filter_subject": jobs_of_consumer(queue, job_class),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_SECONDS * _NANOSECONDS,
        # Attempts are counted in the log: a bound here would leave messages for ever, blocking
        # their ids and showing in no counter.
        "max_deliver": -1,
        # At least all worker slots of the queue together, or it caps the throughput.
        "max_ack_pending": 10_000,
        "max_waiting": 2_048,
        _METADATA: {SCHEMA_KEY: str(SCHEMA)},
    }


def gateways_change(queue: str, job_class: JobClass, found: Config | None) -> Config | None:
    """What a gateway that routes to the queue is to write; None: nothing.

    `found` is the consumer's configuration as it is; None: there is no such consumer. Of one that
    is right but for its mark, or newer, all else is kept.
    """
    wanted = consumer_config(queue, job_class)
    if found is None:
        return wanted
    if is_newer(found) or agrees(wanted, found):
        return None if mark_of(found) is None else _with_mark(found, None)
    return wanted


def operators_change(
    queue: str, job_class: JobClass, operator: str, found: Config | None
) -> Config | None:
    """What the operator that keeps workers for the queue is to write; None: nothing.

    `operator` is what its mark says. One that is there is left alone, whoever made it, unless it
    is of an older schema: then it is brought up to ours, with the mark that it has or has not.
    """
    wanted = consumer_config(queue, job_class)
    if found is None:
        return _with_mark(wanted, operator)
    if schema_of(found) >= SCHEMA:
        return None
    return _with_mark(wanted, mark_of(found))


def mark_of(found: Mapping[str, Any]) -> str | None:
    """The operator that made a consumer which no gateway has cared for since; None: another did."""
    mark: str | None = _metadata_of(found).get(OPERATOR_MARK)
    return mark


def schema_of(found: Mapping[str, Any]) -> int:
    """The schema of a stream or consumer by its configuration; 0 for one made by hand."""
    schema = _metadata_of(found).get(SCHEMA_KEY, "")
    return int(schema) if schema.isdecimal() else 0


def is_newer(found: Mapping[str, Any]) -> bool:
    """Whether a stream or consumer was made by a newer release than this one."""
    return schema_of(found) > SCHEMA


def agrees(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a stream or consumer is as wanted; of its metadata, the schema alone counts.

    What the server adds of its own does not matter, and it leaves out what is false.
    """
    return schema_of(wanted) == schema_of(found) and all(
        found.get(key, False if value is False else None) == value
        for key, value in wanted.items()
        if key != _METADATA
    )


def _with_mark(config: Mapping[str, Any], mark: str | None) -> Config:
    metadata = {key: text for key, text in _metadata_of(config).items() if key != OPERATOR_MARK}
    if mark is not None:
        metadata[OPERATOR_MARK] = mark
    return {**config, _METADATA: metadata}


def _metadata_of(config: Mapping[str, Any]) -> Mapping[str, str]:
    return config.get(_METADATA) or {}
