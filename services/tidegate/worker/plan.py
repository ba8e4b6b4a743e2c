"""How many jobs to ask of the interactive and of the batch consumer, and which may wait: policy."""

from typing import NamedTuple


class Asks(NamedTuple):
    """Jobs to ask for now, beyond those already asked for."""

    interactive: int
    batch: int


def batch_reserve(concurrency: int) -> int:
    """Slots that interactive jobs never take, so that batch jobs are never starved."""
    return max(1, concurrency // 8)


def plan_pulls(
    concurrency: int, running_i: int, running_b: int, asked_i: int, asked_b: int
) -> Asks:
    """Divides the free slots of one queue. `concurrency` is at least 2.

    - What runs and what is asked for together never exceed `concurrency`.
    - Batch is brought up to its reserve first, which interactive never enters.
    - Interactive then keeps half of all slots asked for, as far as there are free ones.
    - Batch may borrow the rest; as its jobs end, their slots go back the same way.
    """
    free = concurrency - running_i - running_b - asked_i - asked_b
    if free <= 0:
        return Asks(0, 0)
    reserve = batch_reserve(concurrency)
    owed_b = min(free, max(0, reserve - running_b - asked_b))
    room_i = concurrency - reserve - running_i - asked_i
    wanted_i = max(1, concurrency // 2) - asked_i
    ask_i = max(0, min(wanted_i, room_i, free - owed_b))
    return Asks(ask_i, free - ask_i)


def probe_size(concurrency: int) -> int:
    """Batch jobs that are asked for beyond the reserve while nothing says there are any."""
    return max(1, batch_reserve(concurrency) // 4)


class BatchAsks(NamedTuple):
    """Batch jobs to wait for, and those to take only if they wait already."""

    waiting: int
    at_once: int


def split_batch(concurrency: int, running_b: int, asked_b: int, ask_b: int) -> BatchAsks:
    """How to ask for batch jobs without tying slots up that interactive ones could use.

    The reserve, and beyond it a few as a probe, are waited for. All else is asked for only as long
    as there is a backlog, and never waits.
    """
    owed = max(batch_reserve(concurrency) - running_b, probe_size(concurrency)) - asked_b
    waiting = min(ask_b, max(0, owed))
    return BatchAsks(waiting, ask_b - waiting)


def may_wait(concurrency: int, waiting_b: int) -> bool:
    """Whether one more batch job may hold its slot while it waits for its provider.

    The reserve's worth may, so that a provider which comes back finds work at once; all others go
    back to the queue, and leave their slots to jobs that can run.
    """
    return waiting_b < batch_reserve(concurrency)


def batch_rests(concurrency: int, waiting_b: int, open_until: float | None, now: float) -> bool:
    """Whether a queue's batch consumer is left alone for now.

    `open_until` is when the first of the queue's circuit breakers lets a call through, None where
    one does already; `now` by the same clock. What was taken now could not run, and returning it
    again and again would fill what a consumer may have outstanding.
    """
    return not may_wait(concurrency, waiting_b) or (open_until is not None and now < open_until)
