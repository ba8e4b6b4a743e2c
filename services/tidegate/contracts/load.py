"""How full a worker is and what its jobs took, as it tells whoever scales the workers.

A newer release may add fields, which older ones pass over.
"""

from typing import Annotated, Final

import msgspec

from tidegate.contracts.events import UNDECODABLE

LOAD_VERSION: Final = 1

_Number = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
# A DNS name: whoever hears it may look for a pod of that name. `\Z`, for `$` allows a line's end.
_Host = Annotated[str, msgspec.Meta(max_length=253, pattern=r"\A[A-Za-z0-9.-]+\Z")]


class UndecodableLoad(Exception):
    """Bytes that are no load, or one of a newer format."""


def _version() -> int:
    return LOAD_VERSION


class WorkerLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker tells of one queue.

    `worker` names the life of a process: another one begins with its next start. `host` is where
    that runs, in Kubernetes its pod. `slots` are the jobs of the queue that it runs at once,
    `running` those that it holds, and `waiting` those of them that wait for their provider
    (batch jobs alone do). `blocked` says that all that could answer the queue's models is behind
    an open circuit breaker; `draining`, that no more jobs are taken.

    The rest counts from the start of the process, over the jobs that came to their end in it:
    `ended` of them were held for `busy_seconds` together; with all their attempts they made
    `output_tokens` and, those `priced` of them whose cost is known, cost `nano_usd`. A job that
    was ended without an attempt, since its time was over or no provider was to be called, does not
    count: it tells nothing of how long one takes.
    """

    worker: str
    host: _Host
    queue: str
    slots: _Number
    running: _Number
    waiting: _Number
    blocked: bool
    draining: bool
    ended: _Number
    busy_seconds: _Seconds
    output_tokens: _Number
    nano_usd: _Number
    priced: _Number
    version: int = msgspec.field(default_factory=_version)


_decoder = msgspec.json.Decoder(WorkerLoad)
_encoder = msgspec.json.Encoder()


def encode_load(load: WorkerLoad) -> bytes:
    """A message's payload."""
    return _encoder.encode(load)


def decode_load(payload: bytes) -> WorkerLoad:
    """The load of a payload.

    Raises:
        UndecodableLoad: it cannot be read.
    """
    try:
        load = _decoder.decode(payload)
    except UNDECODABLE as error:
        raise UndecodableLoad(f"not a load: {error}") from error
    if load.version > LOAD_VERSION:
        raise UndecodableLoad(f"load format {load.version} is newer than {LOAD_VERSION}")
    return load
