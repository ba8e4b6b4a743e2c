"""A soak that grows must not pass for one that does not."""

import pytest

from tests.chaos.footprints import Footprint, growth, not_flat


def soak(*mebibytes: float, pids: tuple[int, ...] = ()) -> list[dict[str, Footprint]]:
    pids = pids or (1,) * len(mebibytes)
    return [
        {"worker-1": Footprint(pid, 10, 2, size)} for size, pid in zip(mebibytes, pids, strict=True)
    ]


def test_what_is_taken_at_the_beginning_is_no_growth() -> None:
    assert not list(not_flat(soak(50, 60, *[100] * 8)))


def test_growth_of_a_tenth_is_told() -> None:
    rounds = soak(*(100 + 2 * number for number in range(10)))
    assert growth([each["worker-1"].mebibytes for each in rounds]) == pytest.approx(117 / 105 - 1)
    assert list(not_flat(rounds)) == ["worker-1 grew by 11.4% in a soak"]


def test_a_process_that_is_another_one_now_proves_nothing() -> None:
    assert list(not_flat(soak(*[100] * 5, pids=(1, 1, 2, 2, 2)))) == [
        "worker-1 did not live through the soak"
    ]


def test_descriptors_and_threads_are_counted_too() -> None:
    rounds = [
        {"worker-1": Footprint(1, 10 + 5 * number, 2 + number, 100.0)} for number in range(20)
    ]
    assert list(not_flat(rounds)) == [
        "worker-1 held 38 file descriptors in a soak, and holds 98",
        "worker-1 had 8 threads in a soak, and has 20",
    ]


def test_what_keeps_the_logs_may_grow() -> None:
    rounds = [{"nats-1": Footprint(number, 10, 2, 100.0 * number)} for number in range(1, 10)]
    assert not list(not_flat(rounds))


def test_a_short_soak_is_a_complaint() -> None:
    assert list(not_flat(soak(*[100] * 4))) == ["a soak of 4 rounds says nothing: it takes 5"]


def test_four_rounds_are_no_soak() -> None:
    with pytest.raises(ValueError, match="five rounds"):
        growth([100] * 4)
