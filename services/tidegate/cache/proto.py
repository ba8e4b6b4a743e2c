"""The cache's values as messages of the public protocol, and its requests as ours. No I/O."""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tidegate.cache.decision import Judged
from tidegate.cache.entries import Entry, Selection
from tidegate.cache.explaining import Explanation
from tidegate.cache.lookups import Found, Outcome, Tier
from tidegate.cache.searching import age_ms
from tidegate.cache.storing import Answer
from tidegate.contracts.errors import InvalidRequest
from tidegate.v1 import cache_pb2 as pb

_OUTCOMES: Final = {
    Outcome.HIT: pb.LOOKUP_OUTCOME_HIT,
    Outcome.SHADOW: pb.LOOKUP_OUTCOME_SHADOW,
    Outcome.MISS: pb.LOOKUP_OUTCOME_MISS,
    Outcome.BYPASS: pb.LOOKUP_OUTCOME_BYPASS,
}
_TIERS: Final = {
    Tier.NONE: pb.CACHE_TIER_UNSPECIFIED,
    Tier.EXACT: pb.CACHE_TIER_EXACT,
    Tier.SEMANTIC: pb.CACHE_TIER_SEMANTIC,
}

# Any JSON reader has whole numbers up to here.
_LARGEST: Final = 2**53


def lookup_message(found: Found) -> pb.LookupResponse:
    """What a lookup found. Of a shadow's answer nothing but the entry's id leaves the cache."""
    message = pb.LookupResponse(
        outcome=_OUTCOMES[found.outcome],
        key=found.key,
        tier=_TIERS[found.tier],
        score=found.score,
        reason=found.reason,
    )
    if found.entry is not None and found.outcome is Outcome.HIT:
        message.answer.CopyFrom(_answer_message(found.entry))
    elif found.entry is not None:
        message.answer.entry_id = found.entry.id
    return message


def explain_message(explanation: Explanation) -> pb.ExplainResponse:
    """An explanation."""
    found, thresholds = explanation.found, explanation.thresholds
    return pb.ExplainResponse(
        outcome=_OUTCOMES[found.outcome],
        tier=_TIERS[found.tier],
        reason=found.reason,
        scope=explanation.scope,
        question=explanation.question,
        threshold=0.0 if thresholds is None else thresholds.told,
        embedder_threshold=0.0 if thresholds is None else thresholds.serve,
        candidates=[_candidate(each, explanation.now_ms) for each in explanation.judged],
    )


def answer_of(message: pb.CachedAnswer) -> Answer:
    """The answer that is to be stored. Raises InvalidRequest: names the field."""
    for name in ("input_tokens", "output_tokens", "cost_nano_usd"):
        if not 0 <= getattr(message, name) <= _LARGEST:
            raise InvalidRequest(
                f"answer.{name} must be from 0 to {_LARGEST}", field=f"answer.{name}"
            )
    return Answer(
        text=message.text,
        finish_reason=message.finish_reason,
        job_id=message.job_id,
        upstream_model=message.upstream_model,
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        cost_nano_usd=message.cost_nano_usd if message.HasField("cost_nano_usd") else None,
    )


def selection_of(tenant: str, message: pb.InvalidateRequest, now_ms: int) -> Selection:
    """Which entries are to be removed. Raises InvalidRequest: nothing is named, or no age."""
    before_ms = None
    if message.HasField("older_than"):
        before_ms = now_ms - _milliseconds(message.older_than, "older_than")
    selection = Selection(
        tenant,
        entry_id=message.entry_id or None,
        job_id=message.job_id or None,
        model=message.model or None,
        before_ms=before_ms,
    )
    if selection == Selection(tenant) and not message.everything:
        raise InvalidRequest(
            "one of entry_id, job_id, model, older_than and everything is required",
            field="everything",
        )
    return selection


def _answer_message(entry: Entry) -> pb.CachedAnswer:
    created = Timestamp()
    created.FromMilliseconds(entry.created_ms)
    return pb.CachedAnswer(
        entry_id=entry.id,
        text=entry.text,
        finish_reason=entry.finish_reason,
        job_id=entry.job_id,
        upstream_model=entry.upstream_model,
        created_at=created,
        input_tokens=entry.input_tokens,
        output_tokens=entry.output_tokens,
        cost_nano_usd=entry.cost_nano_usd,
    )


def _candidate(judged: Judged, now_ms: int) -> pb.Candidate:
    entry = judged.scored.entry
    age = Duration()
    age.FromMilliseconds(age_ms(entry, now_ms))
    return pb.Candidate(
        entry_id=entry.id,
        question=entry.question,
        score=judged.scored.score,
        objections=judged.objections,
        verdict=judged.standing.value,
        job_id=entry.job_id,
        age=age,
        needed=judged.needed,
    )


def _milliseconds(duration: Duration, field: str) -> int:
    milliseconds = duration.seconds * 1000 + duration.nanos // 1_000_000
    if milliseconds < 0:
        raise InvalidRequest(f"{field} must not be negative", field=field)
    return milliseconds
