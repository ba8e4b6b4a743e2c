"""How a job ends that its caller cancelled or whose time ran out, the same whoever ends it."""

from typing import Final

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Cancelled, Expired, Usage

NOTHING_USED: Final = Usage()


def cancelled(usage: Usage = NOTHING_USED) -> Cancelled:
    """The end by the caller; `usage` is what was used up to it."""
    return Cancelled(Reason.CANCELLED_BY_CALLER, "the caller cancelled the job", usage=usage)


def expired(usage: Usage = NOTHING_USED) -> Expired:
    """The end by the job's time to live; `usage` is what was used up to it."""
    return Expired(
        Reason.DEADLINE_EXCEEDED,
        "the job's time to live has passed",
        retriable=True,
        usage=usage,
    )
