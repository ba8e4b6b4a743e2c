"""The event log's protocol, checked in every state within small bounds.

If one of these fails, some order of crashes, losses and delays makes a user lose an answer, read a
torn one, or wait for ever. The printed trace is that order.
"""

import pytest

from tests.unit.log_model.model import Budget, Config, Flaw, Law
from tests.unit.log_model.search import search
from tests.unit.log_model.steps import TRANSITIONS

WRITERS = Config("two workers", Budget(crashes=1, lost_acks=1, delays=1))
CRASHES = Config("three deliveries", Budget(crashes=2, lost_acks=1))
GROUPS = Config("grouped deltas", Budget(lost_acks=1, delays=1), deltas=2)
ZOMBIES = Config("three alive", Budget(lost_acks=1), deltas=0, alive=3)
RETRIES = Config("two workers that retry", Budget(crashes=1, lost_acks=1), retries=True)
RETRIES_LATE = Config(
    "three attempts that retry", Budget(delays=1), deltas=0, max_attempts=3, retries=True
)
RETRIES_ENDED = Config(
    "retries, canceller, reaper", Budget(1, 1, 0), alive=1, cancels=True, expires=True, retries=True
)
CREATION = Config("creation", Budget(1, 2, 2), deltas=0, alive=1, creates=True)
ENDERS = Config("worker, canceller, reaper", Budget(1, 1, 1), alive=1, cancels=True, expires=True)
ZOMBIES_ENDED = Config(
    "two workers, canceller, reaper", Budget(), deltas=0, cancels=True, expires=True
)
OWNERLESS = Config("no worker", Budget(2, 2, 2), workers=False, cancels=True, expires=True)
READING = Config(
    "reader",
    Budget(crashes=1, reconnects=1, resumptions=1, lost_copies=1, repeated_copies=1),
    alive=1,
    reads=True,
)
SHORT_READING = READING._replace(deltas=0)
TWO_WRITERS_READ = Config(
    "reader of two workers", Budget(resumptions=1, lost_copies=1), deltas=0, reads=True
)
ENDED_FOR_READER = Config(
    "reader, canceller, reaper",
    Budget(reconnects=1, lost_copies=1),
    deltas=0,
    alive=1,
    cancels=True,
    expires=True,
    reads=True,
)
CONFIGS = (
    WRITERS,
    CRASHES,
    GROUPS,
    ZOMBIES,
    RETRIES,
    RETRIES_LATE,
    RETRIES_ENDED,
    CREATION,
    ENDERS,
    ZOMBIES_ENDED,
    OWNERLESS,
    READING,
    TWO_WRITERS_READ,
    ENDED_FOR_READER,
)
MISTAKES = (
    (WRITERS, Flaw.APPEND_UNFENCED, Law.ONE_WRITER),
    (WRITERS, Flaw.SEAL_UNFENCED, Law.ONE_TERMINAL),
    (WRITERS, Flaw.ACK_BEFORE_SEAL, Law.NO_LOSS),
    (WRITERS, Flaw.SETTLE_BLINDLY, Law.ONE_WRITER),
    (ENDERS, Flaw.SETTLE_BY_ATTEMPT, Law.ONE_TERMINAL),
    (WRITERS, Flaw.SETTLE_BY_ATTEMPT, Law.ONE_WRITER),
    (WRITERS, Flaw.SETTLE_WITHOUT_WRITER, Law.ONE_WRITER),
    (WRITERS, Flaw.SUPERSEDED_ACKS, Law.ONE_WRITER),
    (WRITERS, Flaw.SUPERSEDED_ACKS, Law.NO_LOSS),
    (RETRIES, Flaw.RETRY_MIXES, Law.ONE_WRITER),
    (RETRIES, Flaw.APPEND_UNFENCED, Law.ONE_WRITER),
    (WRITERS, Flaw.STALE_ROLLUP, Law.GAPLESS),
    (OWNERLESS, Flaw.CANCEL_DELETES_FIRST, Law.NO_LOSS),
    (ENDERS, Flaw.CANCEL_DELETES_REFUSED, Law.NO_LOSS),
    (OWNERLESS, Flaw.REAPER_SKIPS_SEALED, Law.ENDS),
    (WRITERS, Flaw.NO_REDELIVERY, Law.ENDS),
    (READING, Flaw.NO_GAP_CHECK, Law.READER),
    (SHORT_READING, Flaw.NO_VERIFY, Law.ENDS),
    (SHORT_READING, Flaw.VERIFY_ON_RECONNECT_ONLY, Law.ENDS),
    (READING, Flaw.NO_CLIENT_FILTER, Law.READER),
)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_no_answer_is_lost_torn_or_endless(config: Config) -> None:
    result = search(config)
    assert result.counterexample is None, f"\n{result.counterexample}"
    assert result.ends > 0
    assert result.names <= TRANSITIONS


@pytest.mark.parametrize(
    ("config", "flaw", "law"), MISTAKES, ids=lambda value: getattr(value, "name", None)
)
def test_a_mistake_in_the_protocol_would_be_found(config: Config, flaw: Flaw, law: Law) -> None:
    counterexample = search(config.flawed(flaw), frozenset({law})).counterexample
    assert counterexample is not None
    assert counterexample.laws == {law}


def test_every_mistake_is_tried() -> None:
    assert {flaw for _, flaw, _ in MISTAKES} == set(Flaw)


def test_every_transition_is_taken() -> None:
    """A transition that no search reaches would make the searches prove less than they say."""
    taken: set[str] = set()
    for config in (ZOMBIES, RETRIES_LATE, CREATION, OWNERLESS, SHORT_READING):
        taken |= search(config).names
    assert taken == TRANSITIONS


def test_counterexample_reads_as_a_list_of_transitions() -> None:
    found = search(OWNERLESS.flawed(Flaw.CANCEL_DELETES_FIRST)).counterexample
    assert str(found) == f"broken law {Law.NO_LOSS}\n  1. delete canceller"
