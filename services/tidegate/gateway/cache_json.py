"""The cache on the HTTP surface: what its calls take and tell. No I/O."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

import msgspec
from google.protobuf.duration_pb2 import Duration
from msgspec import Meta

from tidegate.contracts.errors import InvalidRequest
from tidegate.v1 import cache_pb2 as pb

Outcome = Literal["hit", "shadow", "miss", "bypass"]
Tier = Literal["exact", "semantic"]

_Name = Annotated[str, Meta(min_length=1, max_length=256)]

_OUTCOMES: Final[dict[int, Outcome]] = {
    pb.LOOKUP_OUTCOME_HIT: "hit",
    pb.LOOKUP_OUTCOME_SHADOW: "shadow",
    pb.LOOKUP_OUTCOME_BYPASS: "bypass",
}
_TIERS: Final[dict[int, Tier]] = {
    pb.CACHE_TIER_EXACT: "exact",
    pb.CACHE_TIER_SEMANTIC: "semantic",
}


class CacheStatsJson(msgspec.Struct, frozen=True):
    """What the cache holds for the tenant, and how honest its hits were.

    `embedder` is null where only the same question is answered. `threshold` is the one in force,
    `threshold_set` what the platform is set to. Of the `shadowed` hits, which were compared with
    the model's own answer, and of those reported, `wrong` were; the bounds of their share (95 %)
    are null before there were any.
    """

    entries: int
    store: str
    embedder: str | None
    threshold_set: float
    threshold: float
    shadowed: int
    wrong: int
    wrong_low: float | None
    wrong_high: float | None

    @classmethod
    def of(cls, told: pb.GetStatsResponse) -> Self:
        """As the cache tells it."""
        return cls(
            entries=told.entries,
            store=told.store,
            embedder=told.embedder or None,
            threshold_set=told.threshold_set,
            threshold=told.threshold,
            shadowed=told.shadowed,
            wrong=told.wrong,
            wrong_low=told.wrong_low if told.HasField("wrong_low") else None,
            wrong_high=told.wrong_high if told.HasField("wrong_high") else None,
        )


class ExplainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked about; `request` is a Chat Completions body, as of a job."""

    request: msgspec.Raw


class CandidateJson(msgspec.Struct, frozen=True):
    """An entry near the question: `score` is the cosine of both questions, `needed` the least that
    would be served, null where the guard's objections are grave and none is enough.

    `verdict` is served, near (to be put to the verifier), below, guarded, or disputed (but for a
    rival nearly as near with another answer, it would be served or put to the verifier).
    `objections` are the guard's. `job_id` is the job whose answer it is.
    """

    entry_id: str
    question: str
    score: float
    needed: float | None
    verdict: str
    objections: Sequence[str]
    job_id: str
    age_s: float

    @classmethod
    def of(cls, told: pb.Candidate) -> Self:
        """As the cache tells it."""
        return cls(
            entry_id=told.entry_id,
            question=told.question,
            score=told.score,
            needed=told.needed if told.HasField("needed") else None,
            verdict=told.verdict,
            objections=list(told.objections),
            job_id=told.job_id,
            age_s=told.age.seconds + told.age.nanos / 1e9,
        )


class ExplanationJson(msgspec.Struct, frozen=True):
    """How a lookup would end now, and what it would look at, nearest first.

    `tier` and thresholds are null where there is none; `reason` is one word, null for a hit.
    `scope` is what a hit must have in common with the request. `threshold` is on the scale of the
    setting, `embedder_threshold` on that of the scores.
    """

    outcome: Outcome
    tier: Tier | None
    reason: str | None
    scope: dict[str, str]
    question: str
    threshold: float | None
    embedder_threshold: float | None
    candidates: Sequence[CandidateJson]

    @classmethod
    def of(cls, told: pb.ExplainResponse) -> Self:
        """As the cache tells it; an outcome that this release does not know is no hit."""
        return cls(
            outcome=_OUTCOMES.get(told.outcome, "miss"),
            tier=_TIERS.get(told.tier),
            reason=told.reason or None,
            scope=dict(sorted(told.scope.items())),
            question=told.question,
            threshold=told.threshold or None,
            embedder_threshold=told.embedder_threshold or None,
            candidates=[CandidateJson.of(each) for each in told.candidates],
        )


class InvalidateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries: those that match all that is given. At least one thing must be.

    `job_id` is the job whose answer was kept, `model` a public model; `everything` is all of the
    tenant.
    """

    entry_id: _Name | None = None
    job_id: _Name | None = None
    model: _Name | None = None
    older_than_s: Annotated[float, Meta(ge=0, le=10**9)] | None = None
    everything: bool = False

    def asked(self) -> pb.InvalidateRequest:
        """As the cache takes it. Raises InvalidRequest where nothing is given."""
        given = (self.entry_id, self.job_id, self.model, self.older_than_s)
        if not self.everything and given == (None,) * len(given):
            raise InvalidRequest(
                "one of entry_id, job_id, model, older_than_s and everything is required",
                field="everything",
            )
        return pb.InvalidateRequest(
            entry_id=self.entry_id or "",
            job_id=self.job_id or "",
            model=self.model or "",
            older_than=None if self.older_than_s is None else _duration(self.older_than_s),
            everything=self.everything,
        )


class InvalidatedJson(msgspec.Struct, frozen=True):
    """How many entries were removed."""

    removed: int


class FeedbackBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an answer was `wrong` for its question: an entry's, or the one that a job had of it.

    Either of both is to be given.
    """

    wrong: bool
    entry_id: _Name | None = None
    job_id: _Name | None = None


class FeedbackJson(msgspec.Struct, frozen=True):
    """Which entry was judged, and whether it was removed; one that is there no more is not."""

    entry_id: str
    removed: bool


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
