"""The secrets of an installation, made through a real API server with the rights of the chart."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bed.cluster import Cluster
from tests.cluster.test_chart import rendered

_NEEDED = {"ConfigMap", "ServiceAccount", "Role", "RoleBinding"}


class _Pod:
    """What the Job's pod is to the API server: a service account's token, and nothing else."""

    def __init__(self, cluster: Cluster, namespace: str, directory: Path) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._directory = directory

    async def prepare(self) -> None:
        objects = await rendered(self._cluster, self._namespace)
        job = next(each for each in objects if each["kind"] == "Job")
        spec = job["spec"]["template"]["spec"]
        self._arguments: list[str] = spec["containers"][0]["command"][1:]
        self._arguments += spec["containers"][0].get("args", [])
        account = spec["serviceAccountName"]
        mine = [each for each in objects if each["kind"] in _NEEDED]
        listed = {"apiVersion": "v1", "kind": "List", "items": mine}
        await self.kubectl("apply", "-f", "-", input=json.dumps(listed))
        authority = json.loads(await self.kubectl("get", "cm", "kube-root-ca.crt", "-o", "json"))
        for name, content in {
            "token": await self.kubectl("create", "token", account),
            "namespace": self._namespace,
            "ca.crt": authority["data"]["ca.crt"],
        }.items():
            (self._directory / name).write_text(content)

    async def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return await self._cluster.kubectl("--namespace", self._namespace, *arguments, input=input)

    async def run(self) -> tuple[int, str]:
        host, port = self._cluster.api_server
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tidegate.cli", *self._arguments),
            env={
                "KUBERNETES_SERVICE_HOST": host,
                "KUBERNETES_SERVICE_PORT": str(port),
                "SERVICE_ACCOUNT_DIRECTORY": str(self._directory),
            },
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        return process.returncode or 0, said.decode()

    async def secret(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            await self.kubectl("get", "secret", "tidegate-secrets", "-o", "json")
        )
        return found


@pytest.fixture
async def pod(control_plane: Cluster, namespace: str, tmp_path: Path) -> _Pod:
    pod = _Pod(control_plane, namespace, tmp_path)
    await pod.prepare()
    return pod


@pytest.mark.timeout(120)
async def test_what_is_missing_is_made_once_and_then_left_alone(pod: _Pod) -> None:
    status, said = await pod.run()
    assert status == 0, said
    made = await pod.secret()
    key = base64.b64decode(made["data"]["api-key"]).decode()
    assert "api-key" in said
    assert key not in said
    assert (await pod.run())[0] == 0
    assert (await pod.secret())["data"] == made["data"]
    await pod.kubectl(
        *("patch", "secret", "tidegate-secrets", "--type=json"),
        *("-p", '[{"op": "remove", "path": "/data/cache-key"}]'),
    )
    status, said = await pod.run()
    assert (status, "cache-key" in said, "token-secret" in said) == (0, True, False)
    after = (await pod.secret())["data"]
    assert after.keys() == made["data"].keys()
    assert {name for name in after if after[name] != made["data"][name]} == {"cache-key"}


@pytest.mark.timeout(120)
async def test_two_that_run_at_once_agree(pod: _Pod) -> None:
    """Kubernetes may start a Job's pod twice."""
    results = await asyncio.gather(*(pod.run() for _ in range(4)))
    assert [status for status, _ in results] == [0] * 4, results
    made = [said for _, said in results if said.startswith("made")]
    assert len(made) == 1


@pytest.mark.timeout(120)
async def test_the_secret_goes_with_the_installation(pod: _Pod) -> None:
    await pod.run()
    reference = (await pod.secret())["metadata"]["ownerReferences"][0]
    await pod.kubectl("delete", "configmap", reference["name"])
    await pod.kubectl("wait", "--for=delete", "secret/tidegate-secrets", "--timeout=60s")


@pytest.mark.timeout(120)
async def test_a_missing_right_is_said_in_words(pod: _Pod) -> None:
    role = (await pod.kubectl("get", "rolebinding", "-o", "name")).split()
    await pod.kubectl("delete", *role)
    status, said = await pod.run()
    assert status == 1
    assert "service account" in said
    assert said.count("\n") == 1
