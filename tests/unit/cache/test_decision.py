"""What is served. Who lost this would get look-alikes' answers, or none from memory."""

from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.decision import (
    STRICTEST,
    Compare,
    Decision,
    MissReason,
    Policy,
    Standing,
    Thresholds,
    decide,
    raised,
    thresholds_for,
)
from tidegate.cache.entries import Entry, Scored
from tidegate.cache.guard import Comparison, Objection

ASKED = "What does it cost?"
GRAVE = Comparison((Objection("number", "2 / 3"),))
LIGHT = Comparison((Objection("words", "please / nothing", grave=False),))
NOTHING = Comparison(())
AT = Thresholds(told=0.92, serve=0.92, accounted=0.85, band_low=None)
VERIFIED = Thresholds(told=0.92, serve=0.92, accounted=None, band_low=0.8)


def candidate(score: float, name: str = "e", question: str = "What is the cost of it?") -> Scored:
    entry = Entry(
        name, "k", "acme", "s", "m", "j", question, "ten", "stop", "u", created_ms=0, expires_ms=1
    )
    return Scored(entry, score)


@dataclass
class Guard:
    """Answers with a comparison by the candidate's question, and counts."""

    comparison: Comparison = NOTHING
    by_question: dict[str, Comparison] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, one: str, other: str) -> Comparison:
        assert one == ASKED
        self.asked.append(other)
        return self.by_question.get(other, self.comparison)


def decided(
    *candidates: Scored,
    guard: Compare | None = None,
    at: Thresholds = AT,
    thorough: bool = False,
) -> Decision:
    return decide(ASKED, candidates, at, guard or Guard(), thorough=thorough)


@pytest.mark.parametrize(
    ("score", "comparison", "standing"),
    [
        (0.92, LIGHT, Standing.SERVED),
        (0.9199, LIGHT, Standing.BELOW),
        (0.92, GRAVE, Standing.GUARDED),
        (1.0, GRAVE, Standing.GUARDED),
        (0.85, GRAVE, Standing.GUARDED),
        (0.8499, GRAVE, None),
        (0.85, NOTHING, Standing.SERVED),
        (0.8499, NOTHING, None),
    ],
)
def test_the_rule(score: float, comparison: Comparison, standing: Standing | None) -> None:
    decision = decided(candidate(score), guard=Guard(comparison))
    assert [each.standing for each in decision.judged] == ([standing] if standing else [])
    assert (decision.served is not None) == (standing is Standing.SERVED)


def test_the_nearest_that_may_be_served_is() -> None:
    guard = Guard(by_question={"first one?": GRAVE})
    decision = decided(
        candidate(0.95, "b"), candidate(0.99, "a", "first one?"), candidate(0.93, "c"), guard=guard
    )
    assert decision.served is not None
    assert decision.served.scored.entry.id == "b"
    assert [each.scored.entry.id for each in decision.judged] == ["a", "b"]


def test_an_explanation_looks_at_all_of_them() -> None:
    decision = decided(candidate(0.95), candidate(0.5), candidate(0.93), thorough=True)
    assert [each.scored.score for each in decision.judged] == [0.95, 0.93, 0.5]
    assert decision.judged[-1].standing is Standing.BELOW


def test_what_is_too_far_is_not_compared() -> None:
    """The guard costs time, in every lookup."""
    guard = Guard()
    decided(candidate(0.5), candidate(0.6), guard=guard)
    assert guard.asked == []


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        (decided(), MissReason.NOTHING_STORED),
        (decided(candidate(0.3)), MissReason.BELOW),
        (decided(candidate(0.9), guard=Guard(LIGHT)), MissReason.BELOW),
        (decided(candidate(0.99), guard=Guard(GRAVE)), MissReason.GUARDED),
        (decided(candidate(float("nan"))), MissReason.NOTHING_STORED),
    ],
)
def test_a_miss_says_why(decision: Decision, reason: MissReason) -> None:
    assert decision.served is None
    assert decision.reason is reason


def test_the_band_is_for_the_verifier_and_for_what_nothing_grave_speaks_against() -> None:
    guard = Guard(LIGHT, {"grave?": GRAVE})
    found = decided(
        candidate(0.9, "a", "grave?"), candidate(0.85, "b"), candidate(0.79, "c"),
        guard=guard, at=VERIFIED,
    )  # fmt: skip
    assert [each.scored.entry.id for each in found.near] == ["b"]
    assert found.served is None


def test_a_stored_question_in_another_language_is_never_served() -> None:
    """Its answer is in that language too."""
    decision = decided(candidate(0.999, question="Was kostet das?"))
    assert decision.served is None
    assert decision.judged[0].standing is Standing.GUARDED
    assert any(each.startswith("language") for each in decision.judged[0].objections)


def test_another_language_has_to_be_nearer_and_has_no_other_way() -> None:
    policy = Policy(threshold=0.92, accounted=0.85, band_low=0.8, foreign_margin=0.04)
    english = thresholds_for(policy, "How much is it?", scale=lambda each: each)
    other = thresholds_for(policy, "Was kostet das?", scale=lambda each: each)
    assert english == Thresholds(0.92, 0.92, 0.85, 0.8)
    assert other.told == other.serve == pytest.approx(0.96)
    assert other.accounted is None
    assert other.band_low == pytest.approx(0.84)


def test_what_shadows_have_learnt_makes_every_way_stricter() -> None:
    policy = Policy(threshold=0.92, accounted=0.72, extra=0.8, band_low=0.88)
    tightened = thresholds_for(policy, "How much?", steps=1, scale=lambda each: each / 2)
    assert tightened.told == pytest.approx(0.93)
    assert tightened.serve == pytest.approx(0.93 / 2)
    assert tightened.accounted == pytest.approx((0.93 - 0.15) / 2)
    assert tightened.extra == pytest.approx((0.93 - 0.09) / 2)
    assert tightened.band_low == pytest.approx((0.93 - 0.03) / 2)


def test_a_few_steps_leave_nothing_of_the_discounts() -> None:
    """Hits at 0.72 would go on being wrong while the threshold above them rises to 0.99."""
    policy = Policy(threshold=0.92, accounted=0.72, extra=0.8, band_low=0.85)
    assert policy.lowest == 0.72
    assert thresholds_for(policy, "How?", steps=9, scale=lambda each: each).lowest == STRICTEST


_cosines = st.floats(0.5, 1.0)


@given(_cosines, st.floats(0, 0.5))
def test_a_raised_threshold_never_falls_and_stops_at_the_strictest(at: float, by: float) -> None:
    assert at <= raised(at, by) <= max(at, STRICTEST)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1, 1), max_size=8),
    st.sampled_from([GRAVE, LIGHT, NOTHING]),
    _cosines,
    _cosines,
    st.none() | _cosines,
)
def test_nothing_is_served_that_no_way_allows(
    scores: list[float], comparison: Comparison, serve: float, accounted: float, low: float | None
) -> None:
    at = Thresholds(serve, serve, accounted, low)
    decision = decided(*map(candidate, scores), guard=Guard(comparison), at=at)
    served = decision.served
    allowed = [
        score
        for score in scores
        if score < float("inf")
        and not comparison.grave
        and (score >= serve or (comparison.accounted and score >= accounted))
    ]
    assert (served is not None) == bool(allowed)
    if served is not None:
        assert served.scored.score == max(allowed)
    thorough = decide(
        ASKED, map(candidate, scores), at, cast(Compare, Guard(comparison)), thorough=True
    )
    assert (thorough.served is None) == (served is None)
    assert thorough.reason == decision.reason or served is not None


RIVALLED = Thresholds(told=0.92, serve=0.92, accounted=0.7, band_low=None, rival_margin=0.08)
UNSURE = Comparison((Objection("words", "lid / rim"),))


def answers_differ(one: Entry, other: Entry) -> bool:
    return one.id == other.id


@pytest.mark.parametrize(
    ("rival", "comparison", "standing"),
    [
        (0.83, UNSURE, Standing.DISPUTED),
        (0.81, UNSURE, Standing.SERVED),
        (0.83, GRAVE, Standing.SERVED),
        (0.89, NOTHING, Standing.DISPUTED),
    ],
)
def test_no_entry_is_served_beside_one_that_says_something_else(
    rival: float, comparison: Comparison, standing: Standing
) -> None:
    """But for one of which the guard is certain that it is another question."""
    guard = Guard(by_question={"rival?": comparison})
    decision = decide(
        ASKED,
        [candidate(0.9, "a"), candidate(rival, "b", "rival?")],
        RIVALLED,
        guard,
        agree=answers_differ,
    )
    assert decision.judged[0].standing is standing
    assert (decision.served is None) == (standing is Standing.DISPUTED)
    assert decision.reason is MissReason.DISPUTED or decision.served is not None


def test_entries_that_say_the_same_are_no_rivals() -> None:
    beside = [candidate(0.9, "a"), candidate(0.89, "b")]
    assert decide(ASKED, beside, RIVALLED, Guard()).served is not None


def test_a_word_more_needs_more_nearness_than_none() -> None:
    at = Thresholds(told=0.92, serve=0.92, accounted=0.7, band_low=None, extra=0.8)
    for score, comparison, served in (
        (0.75, NOTHING, True),
        (0.75, LIGHT, False),
        (0.85, LIGHT, True),
        (0.99, UNSURE, False),
    ):
        found = decided(candidate(score), guard=Guard(comparison), at=at).served
        assert (found is not None) == served


VERIFIED_RIVALLED = Thresholds(
    told=0.92, serve=0.92, accounted=0.85, band_low=0.7, rival_margin=0.08
)


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize(
    ("others", "near"),
    [
        ([], True),
        ([candidate(0.83, "b", "rival?")], False),
        ([candidate(0.81, "b", "rival?")], True),
        ([candidate(0.83, "b", "grave?")], True),
    ],
)
def test_the_verifier_is_not_asked_about_one_of_rivals(
    others: list[Scored], near: bool, thorough: bool
) -> None:
    """It compares two questions: it cannot know that another answer is as near."""
    guard = Guard(UNSURE, {"grave?": GRAVE})
    found = decide(
        ASKED,
        [candidate(0.9, "a"), *others],
        VERIFIED_RIVALLED,
        guard,
        agree=answers_differ,
        thorough=thorough,
    )
    assert found.served is None
    assert bool(found.near) == near
    assert near or found.reason is MissReason.DISPUTED


def test_the_verifier_is_not_asked_where_anything_is_disputed() -> None:
    """Of the three, the first says what the second says, and the third does not."""
    guard = Guard(NOTHING, {"near?": UNSURE})
    beside = [candidate(0.91, "a", "near?"), candidate(0.86, "b"), candidate(0.8, "c")]

    def agree(one: Entry, other: Entry) -> bool:
        return {one.id, other.id} == {"a", "b"}

    found = decide(ASKED, beside, VERIFIED_RIVALLED, guard, agree=agree)
    assert [each.standing for each in found.judged] == [Standing.NEAR, Standing.DISPUTED]
    assert found.near == ()
    assert found.reason is MissReason.DISPUTED
