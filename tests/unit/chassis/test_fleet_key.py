"""The fleet's key: who has it may name any tenant."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.chassis.fleet_key import FleetKey
from tidegate.chassis.settings import SettingsError

FIRST, SECOND = "f" * 32, "s" * 40


def of(tmp_path: Path, content: bytes) -> FleetKey:
    path = tmp_path / "key"
    path.write_bytes(content)
    return FleetKey.of_file(path)


def test_the_first_is_presented_and_all_are_accepted(tmp_path: Path) -> None:
    """So that it can be replaced, process by process, without a moment in which one is refused."""
    both = of(tmp_path, f"{FIRST}\n\n {SECOND} \n".encode())
    first, second = FleetKey(FIRST), FleetKey(SECOND)
    assert both.authorization == first.authorization
    assert both.accepts(first.authorization)
    assert both.accepts(second.authorization)
    assert not second.accepts(both.authorization)


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        FIRST,
        f"Bearer {FIRST}",
        f"Fleet {FIRST} ",
        f"Fleet {FIRST[1:]}",
        "Fleet ",
        "Fleet",
    ],
)
def test_nothing_else_is_accepted(given: str | None) -> None:
    assert not FleetKey(FIRST).accepts(given)


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_whatever_a_stranger_presents_is_answered(given: str) -> None:
    assert not FleetKey(FIRST).accepts(given)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no secret"),
        (b"\n\n", "no secret"),
        (b"short\n", "at least 32 bytes"),
        (f"{FIRST}\nshort".encode(), "line 2"),
        (("é" * 32).encode(), "visible ASCII"),
        (b"a" * 20 + b" " + b"b" * 20, "visible ASCII"),
        (b"\0" * 32, "visible ASCII"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_quotes_nothing(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        of(tmp_path, content)
    assert str(refused.value).startswith("TIDEGATE_CACHE_KEY_FILE: ")
    assert "short" not in str(refused.value).replace("too short", "")


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TIDEGATE_CACHE_KEY_FILE: .*No such file"):
        FleetKey.of_file(tmp_path / "missing")


def test_it_is_not_shown() -> None:
    assert FIRST not in repr(FleetKey(FIRST))
