"""Consumers of JetStream: looked at, made and changed by makers who do not ask each other.

What one of them writes is chosen by what it found; where the consumer came or went meanwhile, it
looks again. The server has no fence for a change of a consumer that is there: of two at the same
time the last one counts.
"""

from collections.abc import Callable
from typing import Any, Final

from tidegate.chassis.jetstream import CONSUMER_NOT_FOUND, JetStream, RefusedError

# Error codes of the server (server/errors.json): made otherwise by another meanwhile, or removed.
_CAME_OR_WENT: Final = frozenset({10148, 10149})
_TRIES: Final = 5

Config = dict[str, Any]
Change = Callable[[Config | None], Config | None]


async def consumer_info(jetstream: JetStream, stream: str, name: str) -> dict[str, Any] | None:
    """What the server says of a consumer; None where it is not there.

    Raises:
        NoAnswerError: JetStream does not answer.
        RefusedError: any other refusal, such as STREAM_NOT_FOUND.
    """
    try:
        return await jetstream.api(f"CONSUMER.INFO.{stream}.{name}")
    except RefusedError as error:
        if error.code == CONSUMER_NOT_FOUND:
            return None
        raise


async def ensure_consumer(jetstream: JetStream, stream: str, name: str, change: Change) -> bool:
    """Has a durable consumer made or changed as `change` says; returns whether it was.

    `change` gets the configuration as it is, None where there is no such consumer, and returns the
    one to write, None to leave it. It is asked again where somebody was quicker.

    Raises:
        NoAnswerError: whether it was made or changed is not known.
        RefusedError: it was not.
    """
    tries = 0
    while True:
        info = await consumer_info(jetstream, stream, name)
        config = change(None if info is None else info["config"])
        if config is None:
            return False
        try:
            await jetstream.api(
                f"CONSUMER.DURABLE.CREATE.{stream}.{name}",
                {
                    "stream_name": stream,
                    "config": config,
                    "action": "create" if info is None else "update",
                },
            )
        except RefusedError as error:
            tries += 1
            if error.code not in _CAME_OR_WENT or tries == _TRIES:
                raise
        else:
            return True
