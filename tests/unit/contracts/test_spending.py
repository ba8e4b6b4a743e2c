"""What a log tells of its attempts' tokens: misread, somebody is billed for another's."""

import msgspec

from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    CacheMark,
    Delta,
    Event,
    Usage,
    Waiting,
    encode_event,
)
from tidegate.contracts.spending import (
    HANDED_BACK,
    LastAttempt,
    add_cost,
    add_usage,
    last_attempt,
)


def line(first: int, *events: Event) -> Append:
    return Append(attempt=1, first=first, at_ms=1, events=[encode_event(each) for each in events])


NOTHING = Usage()


def started(number: int, lost: Usage = NOTHING, cost: int | None = 0) -> AttemptStarted:
    return AttemptStarted(number, "w", "p", "m", lost=lost, lost_cost_nano_usd=cost)


def test_a_log_without_an_attempt_has_spent_nothing() -> None:
    assert last_attempt([]) is None
    assert last_attempt([line(1, Waiting(HANDED_BACK))]) is None


def test_only_the_last_attempts_words_are_counted() -> None:
    lost = Usage(7, 0, 3, estimated=True)
    lines = [
        line(1, started(1), Delta("a"), Delta("b")),
        line(4, Waiting("PROVIDER_TIMEOUT", 5)),
        line(5, started(2, lost, 9)),
        line(6, Delta("c"), Delta("{}", "logprobs"), Delta("d", "reasoning")),
    ]
    assert last_attempt(lines) == LastAttempt("p", "m", lost, 9, 2)
    assert last_attempt(lines[:2]) == LastAttempt("p", "m", NOTHING, 0, 2, "PROVIDER_TIMEOUT")


def test_an_attempt_that_was_handed_back_has_not_failed() -> None:
    lines = [line(1, started(1, cost=None), Delta("a"), Waiting(HANDED_BACK))]
    assert last_attempt(lines) == LastAttempt("p", "m", NOTHING, None, 1)


def test_an_answer_that_was_there_already_was_not_called_for() -> None:
    lost = Usage(7, 0, 3, estimated=True)
    hit = AttemptStarted(2, "w", lost=lost, lost_cost_nano_usd=9, cache=CacheMark("exact"))
    lines = [line(1, started(1), Delta("a")), line(3, hit, Delta("b"))]
    # Whoever was called last is named, for the loss.
    assert last_attempt(lines) == LastAttempt("p", "m", lost, 9, 1, free=True)
    assert last_attempt(lines[1:]) == LastAttempt("", "", lost, 9, 1, free=True)


def test_a_call_after_a_miss_is_a_call() -> None:
    missed = AttemptStarted(1, "w", "p", "m", cache=CacheMark("miss"))
    assert last_attempt([line(1, missed)]) == LastAttempt("p", "m", NOTHING, 0, 0)


def test_what_cannot_be_read_is_passed_over() -> None:
    events = [encode_event(started(1)), msgspec.Raw(b'{"type":"delta"}'), encode_event(Delta("a"))]
    found = last_attempt([Append(attempt=1, first=1, at_ms=1, events=events)])
    assert found is not None
    assert found.heard == 1


def test_what_is_unknown_or_estimated_stays_so_in_a_sum() -> None:
    assert add_cost(1, 2) == 3
    assert add_cost(1, None) is None
    assert add_cost(None, 0) is None
    assert add_usage(Usage(1, 2, 3, 4), Usage(10, 20, 30, 40, estimated=True)) == Usage(
        11, 22, 33, 44, estimated=True
    )
