"""What is to be done with a delivered job, from what the leader says of it: pure."""

from enum import Enum, auto

from tidegate.contracts import endings
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Cancelled, Expired, Failed, Terminal
from tidegate.eventlog.head import LogHead
from tidegate.worker.held_job import Stop


class Step(Enum):
    """What needs no terminal event of ours."""

    ACK = auto()
    RUN = auto()


Verdict = Step | Terminal


def judge(
    head: LogHead,
    *,
    cancelled: bool,
    now_ms: float,
    deadline_ms: int,
    routed: bool,
    max_attempts: int,
    readable: bool = True,
) -> Verdict:
    """Whether to acknowledge, to run, or with which event to end the job at once."""
    if head.sealed:
        return Step.ACK
    if not readable:
        return Failed(Reason.JOB_UNREADABLE, "the job as it was stored cannot be read")
    if cancelled:
        return endings.cancelled()
    if now_ms >= deadline_ms:
        return endings.expired()
    return _hopeless(head, routed, max_attempts) or Step.RUN


def _hopeless(head: LogHead, routed: bool, max_attempts: int) -> Failed | None:
    if head.lost_attempts >= max_attempts:
        return Failed(
            Reason.ATTEMPTS_EXHAUSTED,
            f"none of {head.lost_attempts} attempts came to an end",
            retriable=True,
        )
    if not routed:
        return model_not_found()
    return None


def model_not_found() -> Failed:
    """The end of a job whose route has gone since it was accepted."""
    return Failed(Reason.MODEL_NOT_FOUND, "the model is no longer offered")


def stopped_event(why: Stop) -> Cancelled | Expired | None:
    """The end of a job that was asked to stop; a drained one has not come to its end."""
    if why is Stop.DRAINED:
        return None
    return endings.cancelled() if why is Stop.CANCELLED else endings.expired()
