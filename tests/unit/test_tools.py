"""What needs a program that is missing is skipped in words; in CI that would hide a fault."""

import sys
from pathlib import Path

import pytest

from tests.support.tools import require_tool

HINT = "install it with 'apt-get install nothing'"


def test_a_program_that_is_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path(sys.executable)
    monkeypatch.setenv("PATH", str(python.parent))
    assert require_tool(python.name, HINT) == str(python)


def test_a_program_that_is_missing_skips_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is missing: install it"):
        require_tool("no-such-program", HINT)


def test_in_ci_a_program_that_is_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is missing in CI"):
        require_tool("no-such-program", HINT)
