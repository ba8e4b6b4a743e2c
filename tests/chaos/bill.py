"""Calls and tokens: what was delivered, what was booked, what the provider counted. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tests.chaos.answers import AttemptText, attempts_of
from tests.chaos.plan import LONG_TOKENS
from tests.chaos.told import Frame

Call = dict[str, Any]
Job = dict[str, Any]

# Prices of the routes file, in nano-USD for a token.
_INPUT_COST: Final = 1_000
_OUTPUT_COST: Final = 2_000
# So long a worker may not hear that its job has ended, or is to end: it is frozen for 5 s, and then
# a nats-server for 5 s more; time-outs, a reconnect and one question to JetStream take the rest.
# Calls of a minute are made to be stopped, so a worker that never hears is seen.
DEAF_SECONDS: Final = 15.0


def of_the_calls(log: Sequence[Frame], job_id: str, calls: Sequence[Call]) -> Iterator[str]:
    """Each call is one attempt's, and no attempt has two; none was heard more than it was told."""
    attempts = {f"{job_id}-{each.number}": each for each in attempts_of(log) if each.provider}
    made = Counter(call["request_id"] for call in calls)
    for name, number in made.items():
        if name not in attempts:
            yield f"the call {name} is no attempt's"
        elif number > 1:
            yield f"{number} calls for the attempt {name}"
    sent = {call["request_id"]: call["tokens_sent"] for call in calls}
    for name, attempt in attempts.items():
        if attempt.tokens > sent.get(name, 0):
            yield f"{attempt.tokens} tokens were delivered of {name}, {sent.get(name, 0)} sent"


def of_the_bill(log: Sequence[Frame], job: Job, calls: Sequence[Call]) -> Iterator[str]:
    """What was booked is what the provider counted, and no less than what was delivered."""
    attempts = attempts_of(log)
    usage, lost = job["usage"], job["lost"]
    if job["state"] == "completed":
        yield from _of_the_cost(job)
        yield from _of_the_usage(attempts[-1] if attempts else None, job, calls)
    booked = usage["output_tokens"] + lost["output_tokens"] if usage else lost["output_tokens"]
    delivered = sum(each.tokens for each in attempts if each.provider)
    sent = sum(call["tokens_sent"] for call in calls)
    if not delivered <= booked <= sent:
        yield f"{delivered} tokens were delivered, {booked} booked, {sent} sent"


def of_the_stop(job: Job, calls: Sequence[Call]) -> Iterator[str]:
    """A job that was cancelled, or has expired, needs no more tokens."""
    if job["state"] not in {"cancelled", "expired"}:
        return
    late = [call["ended"] - job["finished_at"] for call in calls if call["ended"]]
    if max(late, default=0.0) > DEAF_SECONDS:
        yield f"a call went on for {max(late):.0f} s after the end"
    for call in calls:
        if call["tokens_planned"] >= LONG_TOKENS and call["tokens_sent"] == call["tokens_planned"]:
            yield f"all {call['tokens_sent']} tokens of {call['request_id']} were sent"


def _of_the_cost(job: Job) -> Iterator[str]:
    usage = job["usage"]
    if job["cost"] is None:
        yield "it has no cost"
        return
    cost = _INPUT_COST * usage["input_tokens"] + _OUTPUT_COST * usage["output_tokens"]
    if job["cost"]["nano_usd"] != cost:
        yield f"it cost {job['cost']['nano_usd']}, and its tokens {cost}"


def _of_the_usage(last: AttemptText | None, job: Job, calls: Sequence[Call]) -> Iterator[str]:
    booked = job["usage"]["output_tokens"]
    if last is None or not last.provider:
        if booked:
            yield "a hit was billed"
        return
    name = f"{job['id']}-{last.number}"
    sent = [call["tokens_sent"] for call in calls if call["request_id"] == name]
    if sent != [booked]:
        yield f"{booked} tokens were booked, and {sent} sent"
