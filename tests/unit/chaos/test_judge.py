"""The judge of `make chaos` must see every lie: a suite whose judge sleeps proves nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.judge import judge
from tests.chaos.ledger import Ledger
from tests.chaos.plan import JobPlan, Surface
from tests.chaos.told import Frame, Told

JOB = "job_1"


def frames() -> list[Frame]:
    """A log: one attempt at the provider, two words, the end."""
    events: list[Frame] = [
        {"type": "attempt_started", "attempt": 1, "provider": "simulator", "continues": False},
        {"type": "delta", "data": "high "},
        {"type": "delta", "data": "tide"},
        {"type": "completed"},
    ]
    return [{"sequence": number, **event} for number, event in enumerate(events, 1)]


def told(surface: Surface = Surface.SSE, *, request_id: str = "r") -> Told:
    """A client that was told all of it."""
    plan = JobPlan(1, surface, 0.0, "?", 2, False, request_id, None, None)
    record = Told(plan, job_id=JOB)
    for frame in frames():
        record.hear(frame)
    return record


def ledger() -> Ledger:
    """What is found when all went well."""
    used = {"input_tokens": 3, "output_tokens": 2}
    nothing = {"input_tokens": 0, "output_tokens": 0}
    job = {
        "id": JOB,
        "state": "completed",
        "finished_at": 10.0,
        "usage": used,
        "lost": nothing,
        "cost": {"nano_usd": 7_000},
        "cache": {"tier": "miss"},
        "error": None,
    }
    call = {"job": JOB, "started": 1.0, "ended": 9.0, "tokens_sent": 2}
    return Ledger({JOB: job}, {JOB: frames()}, [call], {"queued": 0})


def test_a_round_in_which_all_went_well_has_no_complaint() -> None:
    verdict = judge([told()], ledger())
    assert verdict.complaints == []
    assert (verdict.accepted, verdict.attempts, verdict.calls) == (1, 1, 1)


Spoil = Callable[[Told, Ledger], object]


def _job(**changes: Any) -> Spoil:
    return lambda _, found: found.jobs[JOB].update(changes)


LIES: list[tuple[str, Spoil]] = [
    ("is gone", lambda _, found: _as_lost(found)),
    ("4 events came", lambda said, _: said.frames.pop(4)),
    ("is not the log's", lambda said, _: said.frames[2].update(data="low ")),
    ("the text is not the log's", lambda said, _: setattr(said, "text", "low tide")),
    ("sequences have gaps", lambda _, found: found.logs[JOB].pop(1)),
    (
        "its log ends with",
        lambda _, found: found.logs[JOB].append({"sequence": 5, "type": "failed"}),
    ),
    ("its log ends with nothing", lambda _, found: found.logs[JOB].pop()),
    ("it was told as failed", lambda said, _: setattr(said, "state", "failed")),
    ("calls for 1 attempts", lambda _, found: found.calls.append(found.calls[0] | {"started": 2})),
    ("which nobody knows", lambda _, found: found.calls.append({"job": "x", "started": 1.0})),
    ("it has no cost", _job(cost=None)),
    ("it cost 1, and its tokens", _job(cost={"nano_usd": 1})),
    (
        "tokens were booked",
        _job(usage={"input_tokens": 5, "output_tokens": 1}, cost={"nano_usd": 7_000}),
    ),
    ("a hit was billed", lambda _, found: _as_hit(found)),
    ("3 booked", _job(lost={"input_tokens": 0, "output_tokens": 1})),
    ("went on for", lambda _, found: _as_cancelled(found, closed=99.0)),
    ("1 left of queued", lambda _, found: found.left.update(queued=1)),
    ("has not ended", lambda _, found: found.unsettled.append("job_1 has not ended")),
    ("no end within", lambda said, _: said.complaints.append("it had no end within patience")),
]


def _as_cancelled(found: Ledger, *, closed: float) -> bool:
    found.jobs[JOB].update(state="cancelled")
    found.logs[JOB][-1]["type"] = "cancelled"
    found.calls[0].update(ended=closed)
    return True


def _as_hit(found: Ledger) -> bool:
    found.logs[JOB][0]["provider"] = ""
    found.calls = []
    return True


def _as_lost(found: Ledger) -> bool:
    found.jobs, found.logs, found.calls = {}, {}, []
    return True


@pytest.mark.parametrize(("complaint", "spoil"), LIES)
def test_the_judge_sees_a_lie(complaint: str, spoil: Spoil) -> None:
    said, found = told(), ledger()
    spoil(said, found)
    assert any(complaint in each for each in judge([said], found).complaints)


def test_a_job_of_nobody_is_explained_by_a_create_that_was_given_up() -> None:
    """Whoever has no request id cannot find out; more jobs than that are inventions."""
    lost = told(request_id="")
    lost.job_id, lost.unanswered = "", 1
    lost.frames.clear()
    assert judge([lost], ledger()).complaints == []
    lost.unanswered = 0
    assert judge([lost], ledger()).complaints == [
        f"1 jobs belong to nobody, and 0 creates were given up: {JOB}"
    ]


def test_one_job_given_to_two_clients_is_a_complaint() -> None:
    assert any(
        "was given to 2 clients" in each for each in judge([told(), told()], ledger()).complaints
    )


def test_an_event_out_of_order_is_told_by_the_client_itself() -> None:
    record = told()
    record.hear({"sequence": 9, "type": "delta", "data": "?"})
    assert record.complaints == ["event 9 came after 4"]
