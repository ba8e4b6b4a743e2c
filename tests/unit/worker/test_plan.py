"""The division of slots: a fault starves a class, or runs more jobs than there is room for."""

from hypothesis import given
from hypothesis import strategies as st

from tidegate.worker.plan import (
    batch_reserve,
    batch_rests,
    may_wait,
    plan_pulls,
    probe_size,
    split_batch,
)

concurrencies = st.integers(2, 600)


@st.composite
def states(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """Any state that the policy itself can lead to: within the slots, the reserve untouched."""
    concurrency = draw(concurrencies)
    interactive = draw(st.integers(0, concurrency - batch_reserve(concurrency)))
    batch = draw(st.integers(0, concurrency - interactive))
    running_i = draw(st.integers(0, interactive))
    running_b = draw(st.integers(0, batch))
    return concurrency, running_i, running_b, interactive - running_i, batch - running_b


@given(concurrencies, *[st.integers(0, 700)] * 4)
def test_slots_are_never_overrun(
    concurrency: int, running_i: int, running_b: int, asked_i: int, asked_b: int
) -> None:
    """Even from a state that it did not make, such as after a redelivery."""
    asks = plan_pulls(concurrency, running_i, running_b, asked_i, asked_b)
    held = running_i + running_b + asked_i + asked_b
    assert min(asks) >= 0
    assert sum(asks) == 0 or held + sum(asks) <= concurrency


@given(states())
def test_every_free_slot_is_asked_for(state: tuple[int, int, int, int, int]) -> None:
    asks = plan_pulls(*state)
    assert sum(state[1:]) + sum(asks) == state[0]


@given(states())
def test_batch_always_has_its_reserve(state: tuple[int, int, int, int, int]) -> None:
    """Batch jobs would otherwise wait for as long as interactive ones keep coming."""
    concurrency, running_i, running_b, asked_i, asked_b = state
    asks = plan_pulls(*state)
    assert running_b + asked_b + asks.batch >= batch_reserve(concurrency)
    assert running_i + asked_i + asks.interactive <= concurrency - batch_reserve(concurrency)


@given(states())
def test_batch_borrows_only_what_interactive_leaves(
    state: tuple[int, int, int, int, int],
) -> None:
    """A caller who waits at a screen would otherwise wait behind a night's batch."""
    concurrency, running_i, running_b, asked_i, asked_b = state
    asks = plan_pulls(*state)
    owed = max(0, batch_reserve(concurrency) - running_b - asked_b)
    if asks.batch > owed:
        full = running_i + asked_i + asks.interactive == concurrency - batch_reserve(concurrency)
        assert full or asked_i + asks.interactive >= max(1, concurrency // 2)


@given(concurrencies, st.data())
def test_under_steady_load_of_both_interactive_gets_all_but_the_reserve(
    concurrency: int, data: st.DataObject
) -> None:
    """Whatever order jobs end in, borrowed slots go back."""
    running_b = data.draw(st.integers(0, concurrency))
    running_i = min(concurrency - running_b, concurrency - batch_reserve(concurrency))
    for _ in range(3 * concurrency):
        if running_i + running_b == concurrency:
            running_b, running_i = max(0, running_b - 1), max(0, running_i - (running_b == 0))
        asks = plan_pulls(concurrency, running_i, running_b, 0, 0)
        running_i, running_b = running_i + asks.interactive, running_b + asks.batch
    for _ in range(concurrency):
        running_b -= running_b > 0
        asks = plan_pulls(concurrency, running_i, running_b, 0, 0)
        running_i, running_b = running_i + asks.interactive, running_b + asks.batch
    assert running_b == batch_reserve(concurrency)
    assert running_i == concurrency - batch_reserve(concurrency)


def test_the_smallest_worker_serves_both() -> None:
    assert plan_pulls(2, 0, 0, 0, 0) == (1, 1)


@given(states())
def test_a_batch_without_backlog_ties_up_no_more_than_reserve_or_probe(
    state: tuple[int, int, int, int, int],
) -> None:
    """Else interactive jobs would wait for requests of a batch queue that is empty to expire."""
    concurrency, _, running_b, _, asked_b = state
    ask_b = plan_pulls(*state).batch
    waiting, at_once = split_batch(concurrency, running_b, asked_b, ask_b)
    assert waiting + at_once == ask_b
    assert min(waiting, at_once) >= 0
    bound = max(batch_reserve(concurrency) - running_b, probe_size(concurrency))
    assert waiting == 0 or asked_b + waiting <= bound


@given(states())
def test_a_batch_backlog_is_always_noticed(state: tuple[int, int, int, int, int]) -> None:
    """With nothing outstanding and a slot to spare, something waits for a first batch job."""
    concurrency, running_i, running_b, asked_i, _ = state
    ask_b = plan_pulls(concurrency, running_i, running_b, asked_i, 0).batch
    if ask_b:
        assert split_batch(concurrency, running_b, 0, ask_b).waiting > 0


@given(concurrencies)
def test_waiting_batch_jobs_take_no_more_than_their_reserve(concurrency: int) -> None:
    """Else a provider's outage would take the slots of every other model of the queue."""
    waiting = 0
    while may_wait(concurrency, waiting):
        waiting += 1
    assert waiting == batch_reserve(concurrency)


def test_a_batch_queue_rests_while_nothing_of_it_could_run() -> None:
    assert not batch_rests(16, 1, None, 100.0)
    assert batch_rests(16, 2, None, 100.0)
    assert batch_rests(16, 0, 101.0, 100.0)
    assert not batch_rests(16, 0, 100.0, 100.0)
