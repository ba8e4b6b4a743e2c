"""The judge: what clients were told, against what is found afterwards. Pure.

A complaint is something that a user lost, or was told wrongly; a round without any is a good one.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.answers import answer_to, attempts_of, wrong_texts
from tests.chaos.bill import DEAF_SECONDS, Call, Job, of_the_bill, of_the_calls, of_the_stop
from tests.chaos.ledger import Ledger
from tests.chaos.orphans import given_up, unexplained
from tests.chaos.plan import JobPlan, Surface
from tests.chaos.stored import of_the_store
from tests.chaos.told import TERMINAL, Frame, Told, is_terminal, text_of

_BY_EVENTS: Final = {Surface.GRPC, Surface.WEBSOCKET, Surface.SSE}
# What a gateway leaves a worker to end a cancelled job, TIDEGATE_CANCEL_GRACE_SECONDS.
_CANCEL_GRACE: Final = 15.0
# What a gateway leaves a worker past the deadline, and how long a killed gateway's successor takes
# to look at a short-lived job.
_EXPIRY_GRACE: Final = 5.0 + 10.0


@dataclass(slots=True)
class Verdict:
    """`complaints` a line each; the rest are figures for the table.

    `cancels` counts accepted cancels by the ends of their jobs, `stopped` calls in mid-answer that
    the end of a cancelled or expired job stopped, `revived` messages that NATS brought back.
    """

    complaints: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    cancels: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    unanswered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    orphans: int = 0
    events: int = 0
    calls: int = 0
    attempts: int = 0
    stopped: int = 0
    revived: int = 0


def judge(tolds: Sequence[Told], ledger: Ledger) -> Verdict:
    """What is wrong, and how much there was of everything."""
    verdict = Verdict(complaints=list(ledger.unsettled))
    verdict.complaints += _of_the_queue(ledger)
    verdict.complaints += of_the_store(ledger.stored, ledger.logs)
    verdict.revived = sum(each.revived for each in ledger.stored.values())
    verdict.complaints += _of_the_creates(tolds, ledger, verdict)
    for told in tolds:
        name = f"{told.plan.surface} {told.plan.number} {told.job_id}"
        verdict.complaints += [f"{name}: {each}" for each in _of_a_client(told, ledger)]
        if told.cancel_state and told.job_id in ledger.jobs:
            verdict.cancels[ledger.jobs[told.job_id]["state"]] += 1
    plans = {told.job_id: told.plan for told in tolds if told.job_id}
    calls = _calls_by_job(ledger)
    verdict.complaints += [
        f"the provider was called for {job or 'no job'}, which nobody knows"
        for job in calls.keys() - ledger.jobs.keys()
    ]
    for job_id in ledger.jobs:
        its = calls.get(job_id, [])
        verdict.complaints += [
            f"{job_id}: {each}" for each in _of_a_job(job_id, ledger, its, plans)
        ]
        _count(verdict, ledger.jobs[job_id], ledger.logs[job_id], its)
    return verdict


def _of_the_queue(ledger: Ledger) -> Iterator[str]:
    for name, number in ledger.left.items():
        if number:
            yield f"{number} left of {name}"


def _of_the_creates(tolds: Sequence[Told], ledger: Ledger, verdict: Verdict) -> Iterator[str]:
    accepted = Counter(told.job_id for told in tolds if told.job_id)
    verdict.accepted = len(accepted)
    verdict.unanswered = sum(told.unanswered for told in tolds)
    verdict.refused = Counter(
        f"{told.plan.surface} {code}" for told in tolds for code in told.refused
    )
    verdict.resumed = sum(told.resumed for told in tolds)
    for job_id, clients in accepted.items():
        if clients > 1:
            yield f"{job_id} was given to {clients} clients"
    orphans = ledger.jobs.keys() - accepted.keys()
    verdict.orphans = len(orphans)
    asked = given_up(tolds)
    logs = {job_id: ledger.logs[job_id] for job_id in orphans}
    states = {job_id: ledger.jobs[job_id]["state"] for job_id in orphans}
    for job_id in unexplained(logs, states, asked):
        yield f"{job_id} belongs to nobody: none of {len(asked)} who gave up asked for it"
    if ledger.called_again:
        yield f"{ledger.called_again} calls came of creates that were repeated in the end"


def _of_a_client(told: Told, ledger: Ledger) -> Iterator[str]:
    yield from told.complaints
    if not told.job_id:
        return
    if told.again not in {None, told.job_id}:
        yield f"its create, repeated in the end, gave {told.again}"
    if told.job_id not in ledger.jobs:
        yield "an accepted job is gone"
        return
    log, job = ledger.logs[told.job_id], ledger.jobs[told.job_id]
    stored = {frame["sequence"]: frame for frame in log}
    for sequence, frame in told.frames.items():
        kept = stored.get(sequence, {})
        if (frame["type"], frame.get("data")) != (kept.get("type"), kept.get("data")):
            yield f"event {sequence} is not the log's"
    if told.plan.surface in _BY_EVENTS and not told.complaints and len(told.frames) != len(log):
        yield f"{len(told.frames)} of {len(log)} events came"
    if told.text is not None and told.text != text_of(log):
        yield "the text is not the log's"
    if told.state and told.state != job["state"]:
        yield f"it was told as {told.state} and is {job['state']}"
    yield from _of_a_cancel(told, job)


def _of_a_cancel(told: Told, job: Job) -> Iterator[str]:
    """An accepted cancel is on disk, and the job may run on for a moment, or end otherwise in it.

    A job that is over when the cancel is accepted stays as it is.
    """
    if not told.cancel_state or job["finished_at"] is None:
        return
    if told.cancel_state in TERMINAL:
        if told.cancel_state != job["state"]:
            yield f"its cancel was answered with {told.cancel_state}, and it is {job['state']}"
        return
    after = job["finished_at"] - told.cancelled_at
    if job["state"] != "cancelled" and after > DEAF_SECONDS:
        yield f"its cancel was accepted, and it {job['state']} {after:.0f} s later"
    elif after > _CANCEL_GRACE + DEAF_SECONDS:
        yield f"it was cancelled {after:.0f} s after that was accepted"


def _of_a_job(
    job_id: str, ledger: Ledger, calls: list[Call], plans: Mapping[str, JobPlan]
) -> Iterator[str]:
    job, log = ledger.jobs[job_id], ledger.logs[job_id]
    yield from _of_a_log(log, job)
    if job_id in plans:
        yield from wrong_texts(log, job["state"], answer_to(plans[job_id]))
        yield from _of_the_source(plans[job_id], job, plans)
    yield from of_the_calls(log, job_id, calls)
    yield from of_the_bill(log, job, calls)
    yield from of_the_stop(job, calls)
    if job["state"] == "expired":
        after = job["finished_at"] - job["deadline"]
        if after > _EXPIRY_GRACE + DEAF_SECONDS:
            yield f"it expired {after:.0f} s after its deadline"


def _of_the_source(plan: JobPlan, job: Job, plans: Mapping[str, JobPlan]) -> Iterator[str]:
    """Questions of a round differ by their numbers, which the cache must tell apart."""
    cache = job["cache"] or {}
    source = plans.get(cache.get("source", ""))
    if source is not None and source.question != plan.question:
        yield f"it was asked {plan.question!r} and given what {source.question!r} was, {cache}"


def _of_a_log(log: list[Frame], job: dict[str, Any]) -> Iterator[str]:
    if [frame["sequence"] for frame in log] != list(range(1, len(log) + 1)):
        yield "its sequences have gaps"
    ends = [frame["type"] for frame in log if is_terminal(frame)]
    if ends != [job["state"]] or not is_terminal(log[-1]):
        yield f"its log ends with {ends or 'nothing'}, and it is {job['state']}"


def _count(verdict: Verdict, job: Job, log: list[Frame], calls: list[Call]) -> None:
    verdict.states[job["state"]] += 1
    verdict.reasons += Counter([job["error"]["reason"]] if job["error"] else [])
    verdict.tiers[(job["cache"] or {"tier": "none"})["tier"]] += 1
    verdict.events += len(log)
    verdict.attempts += sum(bool(each.provider) for each in attempts_of(log))
    verdict.calls += len(calls)
    if job["state"] in {"cancelled", "expired"}:
        verdict.stopped += sum(call["tokens_sent"] > 0 for call in calls)


def _calls_by_job(ledger: Ledger) -> dict[str, list[Call]]:
    calls: dict[str, list[Call]] = {}
    for call in sorted(ledger.calls, key=lambda each: each["started"]):
        # The cache's verifier and embedder call too, for no job; neither is on here.
        calls.setdefault(call["job"] or "", []).append(call)
    return calls
