"""What nobody told of: pools that went unseen, and consumers whose pool has gone.

There are no finalizers, for after an uninstall no operator is there to take them off. What
Kubernetes owns goes with its owner; a consumer of JetStream has none, so it is swept. Only one that
carries this operator's mark is: a gateway that routes to a queue takes that off.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog

from tidegate.chassis.jetstream import (
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    JetStream,
    RefusedError,
)
from tidegate.contracts.queue_consumers import mark_of
from tidegate.contracts.subjects import JOBS_STREAM

_log = structlog.stdlib.get_logger(module=__name__)

_SUBJECT_TOKENS: Final = 3


def orphans(consumers: Iterable[dict[str, Any]], queues: set[str], operator: str) -> list[str]:
    """The names of consumers to delete: ours, of no pool's queue, and without any job. Pure.

    One with jobs is left until they are done or have expired: the queue may get a pool again.
    """
    return [
        info["name"]
        for info in consumers
        if mark_of(info["config"]) == operator
        and queue_of(info["config"]) not in queues
        and not info["num_pending"]
        and not info["num_ack_pending"]
    ]


def queue_of(config: dict[str, Any]) -> str:
    """The queue of a consumer, by what it delivers; empty where that is no queue."""
    tokens = str(config.get("filter_subject", "")).split(".", _SUBJECT_TOKENS - 1)
    return tokens[1] if len(tokens) == _SUBJECT_TOKENS else ""


async def sweep_consumers(
    jetstream: JetStream,
    queues: Callable[[], set[str]],
    operator: str,
    *,
    leads: Callable[[], bool],
) -> list[str]:
    """Deletes the orphans, and returns their names. Raises JetStreamError.

    Before each is deleted it is looked at anew, and `queues` and `leads` are asked once more: since
    the consumers were listed a pool, a gateway or jobs may have come. Nothing more is deleted once
    this process does not lead: it does not know the pools any more.
    """
    deleted: list[str] = []
    for name in orphans(await _consumers(jetstream), queues(), operator):
        if not leads():
            break
        try:
            found = await jetstream.api(f"CONSUMER.INFO.{JOBS_STREAM}.{name}")
            if not leads() or not orphans([found], queues(), operator):
                continue
            await jetstream.api(f"CONSUMER.DELETE.{JOBS_STREAM}.{name}")
        except RefusedError as error:
            if error.code != CONSUMER_NOT_FOUND:
                raise
            continue
        _log.info("consumer deleted", consumer=name)
        deleted.append(name)
    return deleted


async def _consumers(jetstream: JetStream) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        try:
            page = await jetstream.api(f"CONSUMER.LIST.{JOBS_STREAM}", {"offset": len(found)})
        except RefusedError as error:
            if error.code == STREAM_NOT_FOUND:
                return []
            raise
        consumers = page.get("consumers") or []
        found += consumers
        if not consumers or len(found) >= page.get("total", 0):
            return found
