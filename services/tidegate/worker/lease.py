"""Who calls the model for a request just now: the message that says so, and what follows from it.

Pure. One message stands for each request that is being answered, the lease of the job that leads.
It is written by compare-and-set on the stream sequence of the one before (the fence), renewed as
long as its call goes on, and runs out by itself when nobody renews it.

    nothing, or run out    anybody takes it
    released               anybody takes it, having looked whether the answer is there by now
    my own job's           it is of an attempt before this one, which has lost its log: I take it
    another job's          I follow that job's log
"""

import secrets
from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.chassis.jetstream import Stored
from tidegate.contracts.events import UNDECODABLE

LEASE_VERSION: Final = 1


def _version() -> int:
    return LEASE_VERSION


class Lease(msgspec.Struct, frozen=True, omit_defaults=True):
    """The job that leads. `owner` is random, so that two owners never write equal bytes."""

    job: str
    owner: str
    released: bool = False
    # By factory, so that the version is written although it is the default.
    v: int = msgspec.field(default_factory=_version)


@dataclass(frozen=True, slots=True)
class Free:
    """It can be taken, by this fence. `landed`: its flight ended a moment ago, maybe well."""

    fence: int = 0
    landed: bool = False


@dataclass(frozen=True, slots=True)
class Mine:
    """What is stored is what I wrote, at this sequence.

    `just_now`: its storing was answered; else it was found there, of whatever age.
    """

    sequence: int
    just_now: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A newer release wrote it: nothing follows from it."""


Standing = Free | Mine | Lease | Unreadable

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Lease)


def new_lease(job_id: str) -> Lease:
    """A lease that nobody has written before."""
    return Lease(job_id, secrets.token_hex(8))


def encode_lease(lease: Lease) -> bytes:
    """The message's payload."""
    return _encoder.encode(lease)


def released(lease: Lease) -> Lease:
    """What its owner leaves behind."""
    return msgspec.structs.replace(lease, released=True)


def standing(last: Stored | None, mine: Lease, *, void: str = "") -> Standing:
    """What the last message of a request says to the owner of `mine`.

    `void` is the owner of a lease that counts no more, for its job has ended or was handed back.
    """
    if last is None:
        return Free()
    found = _decode(last.payload)
    if found is None:
        return Unreadable()
    if found == mine:
        return Mine(last.sequence)
    if found.released or found.job == mine.job or found.owner == void:
        return Free(last.sequence, landed=found.released)
    return found


def _decode(payload: bytes) -> Lease | None:
    try:
        found = _decoder.decode(payload)
    except UNDECODABLE:
        return None
    return found if found.v <= LEASE_VERSION else None
