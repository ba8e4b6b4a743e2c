"""Which folders are groomed together: too many make every search slow, too large ones the work."""

from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.stores.shards import chosen

SMALL, LARGE = 80, 1_000


def groomed(settled: dict[str, int], incoming: int, number: int) -> dict[str, int]:
    """The folders afterwards."""
    taken = chosen(settled, incoming, SMALL, LARGE)
    left = {name: size for name, size in settled.items() if name not in taken}
    return {**left, f"settled-{number}": incoming + sum(settled[name] for name in taken)}


def test_what_comes_in_goes_into_a_small_one_and_sometimes_into_a_large_one() -> None:
    settled: dict[str, int] = {}
    shapes = []
    for number in range(12):
        settled = groomed(settled, 20, number)
        shapes.append(sorted(settled.values()))
    assert shapes[:6] == [[20], [40], [60], [80], [100], [20, 100]]
    assert shapes[6:] == [[40, 100], [60, 100], [80, 100], [200], [20, 200], [40, 200]]


def test_the_largest_is_extended() -> None:
    assert chosen({"a": 75, "b": 300, "c": 200}, 20, SMALL, LARGE) == ["b", "c", "a"]


@given(st.lists(st.integers(1, 3 * SMALL), max_size=120))
def test_folders_stay_few_and_none_becomes_too_large(batches: list[int]) -> None:
    settled: dict[str, int] = {}
    for number, incoming in enumerate(batches):
        settled = groomed(settled, incoming, number)
        assert max(settled.values()) <= LARGE
        assert len(settled) <= 3 + 2 * sum(settled.values()) // LARGE
    assert sum(settled.values()) == sum(batches)


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, LARGE)), st.integers(0, SMALL))
def test_nothing_is_chosen_twice_or_made_too_large(settled: dict[str, int], incoming: int) -> None:
    taken = chosen(settled, incoming, SMALL, LARGE)
    assert len(set(taken)) == len(taken)
    assert set(taken) <= settled.keys()
    assert incoming + sum(settled[name] for name in taken) <= LARGE or not taken
    assert [settled[name] for name in taken] == sorted((settled[n] for n in taken), reverse=True)
