"""A real control plane for tests of what speaks to the Kubernetes API; see `tests.bed`."""

from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from tests.bed import fixtures
from tests.bed.cluster import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    fixtures.give_time(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly:
        fixtures.prepare(session.items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fixtures.explain(item, report)
    return report


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """One control plane for all tests; what they make goes into a `namespace`."""
    with fixtures.running_control_plane() as cluster:
        yield cluster


@pytest.fixture
def bed(control_plane: Cluster) -> Cluster:
    """The same, for tests that need what only a bed has: pretended nodes."""
    if not control_plane.is_bed:
        pytest.skip(f"needs the bed itself: unset {fixtures.KUBECONFIG}")
    return control_plane


@pytest.fixture
async def namespace(control_plane: Cluster) -> AsyncIterator[str]:
    """A namespace of the test's own."""
    async with fixtures.own_namespace(control_plane) as name:
        yield name
