"""The judge: what clients were told, against what is found afterwards. Pure.

A complaint is something that a user lost, or was told wrongly; a round without any is a good one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.ledger import Ledger
from tests.chaos.plan import Surface
from tests.chaos.told import Frame, Told, is_terminal, text_of

# Prices of the routes file, in nano-USD for a token.
_INPUT_COST: Final = 1_000
_OUTPUT_COST: Final = 2_000
# A call to the provider is closed so long after the job's end at most: a frozen worker must wake.
_CLOSING_SECONDS: Final = 15.0
_BY_EVENTS: Final = {Surface.GRPC, Surface.WEBSOCKET, Surface.SSE}


@dataclass(slots=True)
class Verdict:
    """`complaints` a line each; the rest are figures for the table."""

    complaints: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    unanswered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    orphans: int = 0
    events: int = 0
    calls: int = 0
    attempts: int = 0
    unreached: int = 0


def judge(tolds: Sequence[Told], ledger: Ledger) -> Verdict:
    """What is wrong, and how much there was of everything."""
    verdict = Verdict(complaints=list(ledger.unsettled))
    verdict.complaints += _of_the_queue(ledger)
    verdict.complaints += _of_the_creates(tolds, ledger, verdict)
    for told in tolds:
        name = f"{told.plan.surface} {told.plan.number} {told.job_id}"
        verdict.complaints += [f"{name}: {each}" for each in _of_a_client(told, ledger)]
    calls = _calls_by_job(ledger)
    verdict.complaints += [
        f"the provider was called for {job or 'no job'}, which nobody knows"
        for job in calls.keys() - ledger.jobs.keys()
    ]
    for job_id, job in ledger.jobs.items():
        log = ledger.logs[job_id]
        verdict.complaints += [f"{job_id}: {each}" for each in _of_a_log(log, job)]
        verdict.complaints += [
            f"{job_id}: {each}" for each in _of_the_bill(log, job, calls.get(job_id, []))
        ]
        verdict.states[job["state"]] += 1
        verdict.reasons += Counter([job["error"]["reason"]] if job["error"] else [])
        verdict.tiers[(job["cache"] or {"tier": "none"})["tier"]] += 1
        verdict.events += len(log)
        verdict.attempts += len(_provider_attempts(log))
        verdict.calls += len(calls.get(job_id, []))
    verdict.unreached = verdict.attempts - verdict.calls
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
    given_up = sum(told.unanswered for told in tolds if not told.plan.request_id)
    if len(orphans) > given_up:
        yield (
            f"{len(orphans)} jobs belong to nobody, and {given_up} creates were given up: "
            f"{', '.join(sorted(orphans))}"
        )


def _of_a_client(told: Told, ledger: Ledger) -> Iterator[str]:
    yield from told.complaints
    if not told.job_id:
        return
    if told.job_id not in ledger.jobs:
        yield "an accepted job is gone"
        return
    log, state = ledger.logs[told.job_id], ledger.jobs[told.job_id]["state"]
    stored = {frame["sequence"]: frame for frame in log}
    for sequence, frame in told.frames.items():
        kept = stored.get(sequence, {})
        if (frame["type"], frame.get("data")) != (kept.get("type"), kept.get("data")):
            yield f"event {sequence} is not the log's"
    if told.plan.surface in _BY_EVENTS and not told.complaints and len(told.frames) != len(log):
        yield f"{len(told.frames)} of {len(log)} events came"
    if told.text is not None and state == "completed" and told.text != text_of(log):
        yield "the text is not the log's"
    if told.state and told.state != state:
        yield f"it was told as {told.state} and is {state}"


def _of_a_log(log: list[Frame], job: dict[str, Any]) -> Iterator[str]:
    if [frame["sequence"] for frame in log] != list(range(1, len(log) + 1)):
        yield "its sequences have gaps"
    ends = [frame["type"] for frame in log if is_terminal(frame)]
    if ends != [job["state"]] or not is_terminal(log[-1]):
        yield f"its log ends with {ends or 'nothing'}, and it is {job['state']}"


def _of_the_bill(
    log: list[Frame], job: dict[str, Any], calls: list[dict[str, Any]]
) -> Iterator[str]:
    """Calls and tokens: what was delivered, what was booked, what the provider counted."""
    attempts = _provider_attempts(log)
    if len(calls) > len(attempts):
        yield f"{len(calls)} calls for {len(attempts)} attempts"
        return
    usage, lost = job["usage"], job["lost"]
    by_the_model = bool(attempts) and attempts[-1] is _last_attempt(log)
    sent = [call["tokens_sent"] for call in calls]
    if job["state"] == "completed":
        if job["cost"] is None:
            yield "it has no cost"
            return
        cost = _INPUT_COST * usage["input_tokens"] + _OUTPUT_COST * usage["output_tokens"]
        if job["cost"]["nano_usd"] != cost:
            yield f"it cost {job['cost']['nano_usd']}, and its tokens {cost}"
        if by_the_model and (not sent or usage["output_tokens"] != sent[-1]):
            yield f"{usage['output_tokens']} tokens were booked, and {sent} sent"
        if not by_the_model and usage["output_tokens"]:
            yield "a hit was billed"
    booked = usage["output_tokens"] + lost["output_tokens"] if usage else lost["output_tokens"]
    delivered = _delivered(log)
    if not delivered <= booked <= sum(sent):
        yield f"{delivered} tokens were delivered, {booked} booked, {sum(sent)} sent"
    if job["state"] in {"cancelled", "expired"}:
        late = [call["ended"] - job["finished_at"] for call in calls if call["ended"]]
        if max(late, default=0.0) > _CLOSING_SECONDS:
            yield f"a call went on for {max(late):.0f} s after the end"


def _delivered(log: list[Frame]) -> int:
    """Deltas of attempts that called the provider: a token or more each."""
    delivered, counts = 0, False
    for frame in log:
        if frame["type"] == "attempt_started":
            counts = bool(frame.get("provider"))
        elif frame["type"] == "delta" and counts:
            delivered += 1
    return delivered


def _provider_attempts(log: list[Frame]) -> list[Frame]:
    return [frame for frame in log if frame["type"] == "attempt_started" and frame.get("provider")]


def _last_attempt(log: list[Frame]) -> Frame | None:
    return next((frame for frame in reversed(log) if frame["type"] == "attempt_started"), None)


def _calls_by_job(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    calls: dict[str, list[dict[str, Any]]] = {}
    for call in sorted(ledger.calls, key=lambda each: each["started"]):
        # The cache's verifier and embedder call too, for no job; neither is on here.
        calls.setdefault(call["job"] or "", []).append(call)
    return calls
