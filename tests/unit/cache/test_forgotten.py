"""Deleted jobs. Who lost this would find the answer of a job that they deleted in the cache."""

from tidegate.cache.forgotten import Forgotten


def test_a_job_is_remembered_for_its_time_and_its_tenant() -> None:
    now = 0.0
    memory = Forgotten(lambda: now, seconds=10)
    memory.add("acme", "job")
    assert ("acme", "job") in memory
    assert ("globex", "job") not in memory
    now = 10.0
    assert ("acme", "job") not in memory


def test_it_does_not_grow_for_ever() -> None:
    memory = Forgotten(lambda: 0.0, most=3)
    for number in range(5):
        memory.add("acme", str(number))
    assert [("acme", str(number)) in memory for number in range(5)] == [False] * 2 + [True] * 3


def test_what_is_named_again_is_remembered_from_then_on() -> None:
    now = 0.0
    memory = Forgotten(lambda: now, seconds=10)
    memory.add("acme", "a")
    now = 5.0
    memory.add("acme", "b")
    memory.add("acme", "a")
    now = 14.0
    assert ("acme", "a") in memory
