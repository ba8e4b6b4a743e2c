"""The judge of `make chaos` must see every lie: a suite whose judge sleeps proves nothing."""

import dataclasses
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from tests.chaos.judge import judge
from tests.chaos.ledger import Ledger
from tests.chaos.orphans import unexplained
from tests.chaos.plan import LONG_TOKENS, JobPlan, Surface
from tests.chaos.stored import StoredLog
from tests.chaos.told import Frame, Told
from tidegate.simulator.answer import digest_of, text_tokens

JOB = "job_1"
QUESTION = "What does the tide carry?"
MESSAGES = [{"role": "user", "content": QUESTION}]
FIRST, SECOND, THIRD = (token.decode() for token in islice(text_tokens(digest_of(1, MESSAGES)), 3))


def frames() -> list[Frame]:
    """A log: one attempt at the provider, two words, the end."""
    events: list[Frame] = [
        {"type": "attempt_started", "attempt": 1, "provider": "simulator", "continues": False},
        {"type": "delta", "data": FIRST},
        {"type": "delta", "data": SECOND},
        {"type": "completed"},
    ]
    return [{"sequence": number, **event} for number, event in enumerate(events, 1)]


def planned(surface: Surface = Surface.SSE, *, request_id: str = "r", tokens: int = 2) -> JobPlan:
    return JobPlan(1, surface, 0.0, QUESTION, tokens, False, request_id, None, None)


def told(surface: Surface = Surface.SSE, *, request_id: str = "r") -> Told:
    """A client that was told all of it."""
    plan = planned(surface, request_id=request_id)
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
        "deadline": 600.0,
        "usage": used,
        "lost": nothing,
        "cost": {"nano_usd": 7_000},
        "cache": {"tier": "miss"},
        "error": None,
    }
    call = {
        "job": JOB,
        "request_id": f"{JOB}-1",
        "started": 1.0,
        "ended": 9.0,
        "tokens_planned": 2,
        "tokens_sent": 2,
    }
    return Ledger(
        {JOB: job},
        {JOB: frames()},
        [call],
        {"queued": 0},
        stored={JOB: StoredLog(1, 0, True, frames())},
    )


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
    ("text is not the model's answer of 2", lambda said, found: _spoken(said, found, FIRST)),
    (
        "text is not the model's answer of 3",
        lambda said, _: setattr(said, "plan", planned(tokens=3)),
    ),
    (
        "attempt 1 is not how the model's answer begins",
        lambda said, found: _spoken(said, found, SECOND, FIRST),
    ),
    (
        "attempt 1 is not how the model's answer begins",
        lambda said, found: _spoken(said, found, FIRST, SECOND, SECOND),
    ),
    ("3 tokens were delivered", lambda said, found: _spoken(said, found, FIRST, SECOND + THIRD)),
    ("sequences have gaps", lambda _, found: found.logs[JOB].pop(1)),
    (
        "its log ends with",
        lambda _, found: found.logs[JOB].append({"sequence": 5, "type": "failed"}),
    ),
    ("its log ends with nothing", lambda _, found: found.logs[JOB].pop()),
    ("it was told as failed", lambda said, _: setattr(said, "state", "failed")),
    ("2 calls for the attempt", lambda _, found: _call(found)),
    ("the call job_1-2 is no attempt's", lambda _, found: _call(found, request_id="job_1-2")),
    ("repeated in the end, gave job_2", lambda said, _: setattr(said, "again", "job_2")),
    ("1 calls came of creates", lambda _, found: setattr(found, "called_again", 1)),
    ("keeps 2 seals of its log", lambda _, found: _kept(found, seals=2)),
    ("not one as its last message", lambda _, found: _kept(found, is_sealed=False)),
    ("keeps 0 seals of its log", lambda _, found: found.stored.clear()),
    ("keeps a log that nobody is shown", lambda _, found: found.stored.update(x=StoredLog())),
    ("its log is not what NATS keeps", lambda _, found: _kept(found, frames=frames()[:3])),
    ("which nobody knows", lambda _, found: _call(found, job="x")),
    ("were delivered of job_1-1, 1 sent", lambda _, found: found.calls[0].update(tokens_sent=1)),
    ("it has no cost", _job(cost=None)),
    ("it cost 1, and its tokens", _job(cost={"nano_usd": 1})),
    (
        "tokens were booked",
        _job(usage={"input_tokens": 5, "output_tokens": 1}, cost={"nano_usd": 7_000}),
    ),
    ("a hit was billed", lambda _, found: _as_hit(found)),
    ("3 booked", _job(lost={"input_tokens": 0, "output_tokens": 1})),
    ("went on for", lambda _, found: _as_ended(found, "cancelled", ended=99.0)),
    (
        "all 3600 tokens of job_1-1 were sent",
        lambda _, found: _as_ended(
            found, "expired", tokens_planned=LONG_TOKENS, tokens_sent=LONG_TOKENS
        ),
    ),
    ("it expired 90 s after its deadline", lambda _, found: _as_expired(found, after=90.0)),
    ("its cancel was accepted, and it completed 60 s", lambda said, _: _cancel(said, -50.0)),
    (
        "answered with cancelled, and it is completed",
        lambda said, _: _cancel(said, 9.0, state="cancelled"),
    ),
    ("it was cancelled 60 s after", lambda said, found: _cancelled_late(said, found, 60.0)),
    ("1 left of queued", lambda _, found: found.left.update(queued=1)),
    ("has not ended", lambda _, found: found.unsettled.append("job_1 has not ended")),
    ("no end within", lambda said, _: said.complaints.append("it had no end within patience")),
]


def _spoken(said: Told, found: Ledger, *words: str) -> None:
    """The platform says other words, to the client and in its log alike."""
    start, *_, end = frames()
    events = [start, *({"type": "delta", "data": word} for word in words), end]
    log = [event | {"sequence": number} for number, event in enumerate(events, 1)]
    found.logs[JOB], said.frames = log, {frame["sequence"]: frame for frame in log}


def _call(found: Ledger, **changes: Any) -> None:
    found.calls.append(found.calls[0] | {"started": 2.0} | changes)


def _as_ended(found: Ledger, state: str, **call: Any) -> None:
    found.jobs[JOB].update(state=state)
    found.logs[JOB][-1]["type"] = state
    found.calls[0].update(call)


def _as_expired(found: Ledger, *, after: float) -> None:
    _as_ended(found, "expired")
    found.jobs[JOB].update(deadline=found.jobs[JOB]["finished_at"] - after)


def _cancel(said: Told, at: float, *, state: str = "running") -> None:
    said.cancel_state, said.cancelled_at = state, at


def _cancelled_late(said: Told, found: Ledger, after: float) -> None:
    _as_ended(found, "cancelled")
    _cancel(said, found.jobs[JOB]["finished_at"] - after)


def _kept(found: Ledger, **changes: Any) -> None:
    for name, value in changes.items():
        setattr(found.stored[JOB], name, value)


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


def test_a_cancel_that_comes_with_the_last_token_is_no_lie() -> None:
    said, found = told(), ledger()
    _cancel(said, 9.5)
    assert judge([said], found).complaints == []


def test_a_job_of_nobody_is_explained_by_a_create_that_was_given_up() -> None:
    """Whoever has no request id cannot find out; more jobs than that are inventions."""
    lost = told(request_id="")
    lost.job_id, lost.unanswered = "", 1
    lost.frames.clear()
    assert judge([lost], ledger()).complaints == []
    lost.unanswered = 0
    assert judge([lost], ledger()).complaints == [
        f"{JOB} belongs to nobody: none of 0 who gave up asked for it"
    ]


def test_a_job_of_nobody_is_not_explained_by_another_question() -> None:
    lost = told(request_id="")
    lost.job_id, lost.unanswered = "", 1
    lost.frames.clear()
    lost.plan = planned(request_id="", tokens=3)
    assert judge([lost], ledger()).complaints == [
        f"{JOB} belongs to nobody: none of 1 who gave up asked for it"
    ]


def test_each_who_gave_up_explains_one_job_of_nobody() -> None:
    whole = frames()
    begun = [*whole[:2], {"sequence": 3, "type": "expired"}]
    short, long = planned(tokens=2), planned(tokens=3)
    logs = {"a": begun, "b": whole, "c": begun}
    states = {"a": "expired", "b": "completed", "c": "expired"}
    assert unexplained(logs, states, [short, long]) == ["c"]
    assert unexplained(logs, states, [long, short, long]) == []
    assert unexplained({"b": whole}, states, [long, long]) == ["b"]


def test_one_job_given_to_two_clients_is_a_complaint() -> None:
    assert any(
        "was given to 2 clients" in each for each in judge([told(), told()], ledger()).complaints
    )


def test_an_answer_to_another_question_is_a_complaint() -> None:
    """Even where both have the same words, as short answers may."""
    said, other, found = told(), told(), ledger()
    other.job_id, other.plan = "job_2", dataclasses.replace(other.plan, question="Round 2?")
    found.jobs[JOB]["cache"] = {"tier": "semantic", "source": "job_2"}
    assert any(
        "and given what 'Round 2?'" in each for each in judge([said, other], found).complaints
    )
    other.plan = said.plan
    assert not any("and given what" in each for each in judge([said, other], found).complaints)


def test_an_event_out_of_order_is_told_by_the_client_itself() -> None:
    record = told()
    record.hear({"sequence": 9, "type": "delta", "data": "?"})
    assert record.complaints == ["event 9 came after 4"]
