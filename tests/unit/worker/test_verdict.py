"""What is done with a job before its model is called; the order of the checks is the promise."""

from typing import Any

import msgspec
import pytest

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Append, Cancelled, Expired, Failed
from tidegate.eventlog.head import LogHead
from tidegate.worker.held_job import Stop
from tidegate.worker.verdict import Step, judge, stopped_event

FRESH = LogHead()


def after(attempts: int, *, returned: int = 0, sealed: bool = False) -> LogHead:
    """The head of a log with so many attempts, some of them handed back."""
    events = [msgspec.Raw(b"{}")]
    line = Append(attempt=attempts, first=1, at_ms=1, events=events, returned=returned)
    return LogHead(7, line, b"line\nrest" if sealed else b"line", 1)


def verdict(head: LogHead = FRESH, **facts: Any) -> Any:
    given = {
        "cancelled": False,
        "now_ms": 999,
        "deadline_ms": 1000,
        "routed": True,
        "max_attempts": 3,
    }
    return judge(head, **(given | facts))


def test_a_job_in_order_runs() -> None:
    assert verdict() is Step.RUN
    assert verdict(after(2)) is Step.RUN


@pytest.mark.parametrize("cancelled", [True, False])
@pytest.mark.parametrize("now_ms", [0, 5000])
def test_a_finished_job_is_only_acknowledged(cancelled: bool, now_ms: int) -> None:
    """Whatever else holds: it must never be answered twice."""
    head = after(3, sealed=True)
    assert verdict(head, cancelled=cancelled, now_ms=now_ms, routed=False) is Step.ACK


def test_a_cancel_comes_before_the_deadline() -> None:
    end = verdict(after(3), cancelled=True, now_ms=5000)
    assert isinstance(end, Cancelled)
    assert end.reason == Reason.CANCELLED_BY_CALLER


def test_a_job_past_its_deadline_never_reaches_the_model() -> None:
    end = verdict(after(3), now_ms=1000)
    assert isinstance(end, Expired)
    assert (end.reason, end.retriable) == (Reason.DEADLINE_EXCEEDED, True)


def test_a_job_that_takes_its_worker_down_is_not_tried_for_ever() -> None:
    end = verdict(after(3))
    assert isinstance(end, Failed)
    assert end.reason == Reason.ATTEMPTS_EXHAUSTED


def test_a_model_that_is_no_longer_offered_ends_its_jobs() -> None:
    end = verdict(routed=False)
    assert isinstance(end, Failed)
    assert (end.reason, end.retriable) == (Reason.MODEL_NOT_FOUND, False)


def test_attempts_that_were_handed_back_do_not_count() -> None:
    assert verdict(after(9, returned=7)) is Step.RUN
    assert isinstance(verdict(after(9, returned=6)), Failed)


def test_a_job_that_cannot_be_read_is_told_to_be_so() -> None:
    """Not as expired, though nothing is known of its time to live."""
    end = verdict(readable=False, now_ms=5000)
    assert isinstance(end, Failed)
    assert (end.reason, end.retriable) == (Reason.JOB_UNREADABLE, False)
    assert verdict(after(1, sealed=True), readable=False) is Step.ACK


@pytest.mark.parametrize(
    ("why", "kind"), [(Stop.CANCELLED, Cancelled), (Stop.EXPIRED, Expired), (Stop.DRAINED, None)]
)
def test_a_stop_ends_the_job_but_for_a_drain(why: Stop, kind: type | None) -> None:
    end = stopped_event(why)
    assert end is None if kind is None else isinstance(end, kind)
