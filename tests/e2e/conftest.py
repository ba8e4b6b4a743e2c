"""A real node for tests of the product as it is installed; see `tests.bed`."""

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
def node() -> Iterator[Cluster]:
    """One node for all tests; what they make goes into a `namespace`."""
    with fixtures.running_node() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def image(node: Cluster) -> str:
    """The project's image, of the checkout as it is."""
    return fixtures.loaded_image(node)


@pytest.fixture(scope="session")
def base_image(node: Cluster) -> str:
    """An image with Python and nothing of the project's."""
    return fixtures.loaded_base_image(node)


@pytest.fixture
def bed(node: Cluster) -> Cluster:
    """The node, for tests that need what only a bed has: its volumes, its addresses."""
    if not node.is_bed:
        pytest.skip(f"needs the bed itself: unset {fixtures.KUBECONFIG}")
    return node


@pytest.fixture
async def node_namespace(node: Cluster) -> AsyncIterator[str]:
    """A namespace of the test's own."""
    async with fixtures.own_namespace(node) as name:
        yield name
