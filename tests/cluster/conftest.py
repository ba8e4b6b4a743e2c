"""A real control plane for tests of what speaks to the Kubernetes API; see `tests.bed`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.bed import fixtures
from tests.bed.cluster import Cluster
from tests.bed.hooks import (
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
)

__all__ = [
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_runtest_makereport",
]


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
