"""Where something is missing: skipped by a line that helps, and never unnoticed in CI."""

from typing import NoReturn

import pytest

from tests.bed.errors import BuildFailed, Unavailable
from tests.bed.fixtures import or_skip


def lacks() -> NoReturn:
    raise BuildFailed("Go could not build etcd:\n  no network, or name a folder")


def test_what_is_there_is_used() -> None:
    assert or_skip(lambda: 1) == 1


def test_a_skip_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception) as skipped:
        or_skip(lacks)
    assert str(skipped.value) == "Go could not build etcd: no network, or name a folder"
    assert issubclass(BuildFailed, Unavailable)


def test_in_ci_it_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no network"):
        or_skip(lacks)
