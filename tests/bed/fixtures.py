"""What the conftests of tests/cluster and tests/e2e are made of.

What takes minutes, building, happens once before the first test (`prepare`), for a test has a time
limit that its fixtures share. Whoever has a cluster names its kubeconfig by
TIDEGATE_TEST_KUBECONFIG, and by TIDEGATE_TEST_IMAGE an image of the project that it can pull.
"""

import asyncio
import contextlib
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import pytest

from tests.bed import base_image, control_plane, images, node, state
from tests.bed.binaries import binaries
from tests.bed.cluster import Cluster
from tests.bed.diagnostics import diagnosis
from tests.bed.errors import Unavailable
from tests.bed.progress import progress
from tests.bed.versions import CLIENTS, CONTROL_PLANE, NODE

KUBECONFIG: Final = "TIDEGATE_TEST_KUBECONFIG"
IMAGE: Final = "TIDEGATE_TEST_IMAGE"
SECONDS: Final = 300.0
# Who would make pods again; a CronJob before its Jobs, a Deployment before its ReplicaSets.
_WORKLOADS: Final = "cronjobs,deployments,statefulsets,daemonsets,jobs,replicasets"
_EMPTY_WITHIN: Final = 60.0
_say = progress()
_Made = TypeVar("_Made")


def or_skip(make: Callable[[], _Made]) -> _Made:
    """What `make` returns. Where this machine lacks something the test is skipped with one line.

    With CI=true that is a failure: what was never tried there would look as if it worked.
    """
    try:
        return make()
    except Unavailable as missing:
        reason = " ".join(str(missing).split())
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def prepare(items: Sequence[pytest.Item]) -> None:
    """Build what the tests need that were collected. What cannot be built the fixtures tell."""
    needed = {name for item in items for name in getattr(item, "fixturenames", ())}
    with contextlib.suppress(Unavailable):
        if "control_plane" in needed and not _named():
            binaries(CONTROL_PLANE, _say)
        if "node" in needed and not _named():
            node.require()
            binaries(NODE, _say)
        if "image" in needed and not os.environ.get(IMAGE) and not _named():
            images.build_image(_say)
        if "base_image" in needed and not _named():
            base_image.base_image(_say)


def give_time(items: Iterable[pytest.Item]) -> None:
    """Tests in a cluster wait for it: those that set no limit get a longer one."""
    for item in items:
        needs = getattr(item, "fixturenames", ())
        if {"control_plane", "node"} & set(needs) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@contextlib.contextmanager
def running_control_plane() -> Iterator[Cluster]:
    """A control plane of this test run's own, or the cluster that is named."""
    if _named():
        yield from _own_cluster()
        return
    programs = or_skip(lambda: binaries(CONTROL_PLANE, _say))
    folder, processes = or_skip(lambda: control_plane.up(programs))
    try:
        yield Cluster(folder / "kubeconfig", programs, processes)
    finally:
        state.release(folder)
        processes.reap()


@contextlib.contextmanager
def running_node() -> Iterator[Cluster]:
    """A node of this test run's own, or the cluster that is named."""
    if _named():
        yield from _own_cluster()
        return
    or_skip(node.require)
    programs = or_skip(lambda: binaries(NODE, _say))
    pause = images.pause_image(programs)
    folder, processes = or_skip(lambda: node.up(programs, [pause], lambda _: None))
    try:
        yield Cluster(folder / "kubeconfig", programs, processes)
    finally:
        state.release(folder)
        processes.reap()


def loaded_image(cluster: Cluster) -> str:
    """The reference of the project's image, which the cluster has or can pull."""
    named = os.environ.get(IMAGE)
    if named:
        return named
    if not cluster.is_bed:
        or_skip(_no_image)
    reference = or_skip(lambda: images.build_image(_say))
    images.load(cluster.kubeconfig.parent, images.archive_of(reference))
    return reference


def loaded_base_image(cluster: Cluster) -> str:
    """The reference of an image with Python alone, which the cluster has."""
    if not cluster.is_bed:
        pytest.skip("the base image is a bed's")
    archive = or_skip(lambda: base_image.base_image(_say))
    images.load(cluster.kubeconfig.parent, archive)
    return base_image.reference()


@contextlib.asynccontextmanager
async def own_namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace for one test; nothing of it runs or holds a volume when the next one begins.

    The rest goes by itself: Kubernetes lets a namespace that is deleted rest for five seconds.
    """
    name = f"test-{uuid.uuid4().hex[:8]}"
    await cluster.kubectl("create", "namespace", name)
    try:
        await cluster.wait_for("serviceaccount/default", "create", name)
        yield name
    finally:
        await _empty(cluster, name)
        await cluster.kubectl("delete", "namespace", name, "--wait=false")
        await cluster.free_volumes()


async def _empty(cluster: Cluster, namespace: str) -> None:
    within = ("--namespace", namespace)
    path = f"/api/v1/namespaces/{namespace}"
    asked = ("get", f"pods,persistentvolumeclaims,{_WORKLOADS}", "--output=name", *within)
    until = time.monotonic() + _EMPTY_WITHIN
    while True:
        # Again and again: an operator that ends may make one more Deployment.
        await cluster.kubectl("delete", _WORKLOADS, "--all", "--wait=false", *within)
        for kind in ("pods", "persistentvolumeclaims"):  # all of a kind at once
            await cluster.kubectl("delete", "--raw", f"{path}/{kind}?gracePeriodSeconds=1")
        if not await cluster.kubectl(*asked) or time.monotonic() > until:
            return
        await asyncio.sleep(0.2)


def explain(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add to the report of a failed test what its namespace looks like."""
    if not report.failed or report.when == "teardown":
        return
    values = getattr(item, "funcargs", {})
    clusters = [each for each in values.values() if isinstance(each, Cluster)]
    namespace = values.get("namespace") or values.get("node_namespace")
    if clusters and isinstance(namespace, str):
        report.sections.append((f"Kubernetes: {namespace}", diagnosis(clusters[0], namespace)))


def _named() -> str | None:
    return os.environ.get(KUBECONFIG) or None


def _own_cluster() -> Iterator[Cluster]:
    kubeconfig = _named()
    assert kubeconfig is not None
    cluster = Cluster(Path(kubeconfig).resolve(), or_skip(_clients))
    try:
        yield cluster
    finally:
        cluster.close()


def _clients() -> Path:
    """kubectl and helm as the machine has them side by side, or the bed's."""
    kubectl = shutil.which("kubectl")
    if kubectl is not None and (Path(kubectl).parent / "helm").exists():
        return Path(kubectl).parent
    return binaries(CLIENTS, _say)


def _no_image() -> str:
    raise Unavailable(f"name an image that this cluster can pull by {IMAGE}")
