"""The control plane itself: what every test of the operator stands on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.bed import processes, state
from tests.bed.cluster import Cluster, CommandError
from tests.bed.versions import KUBERNETES
from tests.support.processes import python_process

_RUN = """
import os, pathlib, time
from tests.bed import control_plane
print(control_plane.up(pathlib.Path(os.environ["PROGRAMS"]))[0], flush=True)
time.sleep(600)
"""


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "pretended"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "pretended"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"type": "kwok"},
                    "containers": [{"name": "main", "image": "nobody/pulls-this"}],
                },
            },
        },
    }


async def test_it_is_the_version_that_was_asked_for(bed: Cluster) -> None:
    said = await bed.kubectl("version", "--output=json")
    assert said.count(f'"gitVersion": "{KUBERNETES}"') == 2


async def test_a_namespace_has_what_pods_need(control_plane: Cluster, namespace: str) -> None:
    account = await control_plane.get("serviceaccount", "default", namespace)
    authority = await control_plane.get("configmap", "kube-root-ca.crt", namespace)
    assert account["metadata"]["namespace"] == namespace
    assert "BEGIN CERTIFICATE" in authority["data"]["ca.crt"]


async def test_pods_run_on_pretended_nodes(bed: Cluster, namespace: str) -> None:
    await bed.add_nodes(3)
    await bed.apply([deployment(300)], namespace)
    await bed.kubectl(
        *("rollout", "status", "deployment/pretended", "--namespace", namespace), timeout=120
    )
    pods = await bed.find("pods", namespace)
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 3


async def test_a_refusal_says_why(control_plane: Cluster, namespace: str) -> None:
    with pytest.raises(CommandError, match='configmaps "nothing" not found') as refusal:
        await control_plane.get("configmap", "nothing", namespace)
    assert refusal.value.status == 1


async def test_commands_run_beside_each_other_and_end_in_time(control_plane: Cluster) -> None:
    with pytest.raises(CommandError, match="took too long"):
        await asyncio.gather(
            control_plane.kubectl("get", "namespaces"),
            control_plane.kubectl("get", "namespaces", "--watch", timeout=2),
        )


async def test_what_a_killed_run_leaves_is_ended_by_the_next(bed: Cluster) -> None:
    async with python_process(_RUN, {"PROGRAMS": str(bed.binaries)}) as run:
        assert run.stdout is not None
        folder = Path((await run.stdout.readline()).decode().strip())
    assert len(processes.of_bed(folder)) == 4
    state.sweep()
    assert processes.of_bed(folder) == []
    assert folder not in [each for each, _ in state.beds()]
    # A bed whose owner lives is nobody's to end.
    assert await bed.kubectl("get", "--raw", "/readyz") == "ok"


async def test_helm_speaks_to_it(control_plane: Cluster, namespace: str) -> None:
    assert await control_plane.helm("list", "--namespace", namespace, "--short") == ""
