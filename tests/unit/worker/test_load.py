"""What counts of a job for a worker's load: were it wrong, the fleet would have a wrong size."""

from tidegate.contracts import endings
from tidegate.contracts.events import Completed, Failed, Timings, Usage
from tidegate.worker.load import Ended

TIMINGS = Timings(1, 2, 3)


def test_all_attempts_of_a_job_count_for_what_it_spent() -> None:
    ended = Ended()
    ended.add(
        Completed(
            ["stop"],
            Usage(10, 0, 50),
            TIMINGS,
            300,
            lost=Usage(10, 0, 7),
            lost_cost_nano_usd=40,
        ),
        2.5,
    )
    ended.add(Failed("X", "x", usage=Usage(1, 0, 3), cost_nano_usd=5), 0.5)
    assert ended == Ended(jobs=2, busy_seconds=3.0, output_tokens=60, nano_usd=345, priced=2)


def test_a_cost_that_is_not_known_in_full_is_left_out() -> None:
    """Else the mean of what a job costs would come out too low."""
    ended = Ended()
    ended.add(endings.cancelled(Usage(1, 0, 2)), 1.0)
    ended.add(Completed(["stop"], Usage(1, 0, 2), TIMINGS, 9, lost_cost_nano_usd=None), 1.0)
    ended.add(Completed(["stop"], Usage(), TIMINGS, 0), 1.0)
    assert ended == Ended(jobs=3, busy_seconds=3.0, output_tokens=4, nano_usd=0, priced=1)
