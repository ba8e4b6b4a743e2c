"""What pytest is told by every suite that needs a cluster: hooks that its conftest takes over."""

from collections.abc import Generator

import pytest

from tests.bed import fixtures

__all__ = [
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_runtest_makereport",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests in a cluster more time."""
    fixtures.give_time(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds what is missing before the first test's time begins."""
    if not session.config.option.collectonly:
        fixtures.prepare(session.items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Says of a test that failed what its namespace looks like."""
    report = yield
    fixtures.explain(item, report)
    return report
