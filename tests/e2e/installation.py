"""One release of the chart in a namespace of its own, as a platform team has it.

async with Installation(cluster, namespace, image) as tidegate:
    await tidegate.install("--set", "worker.pool.minReplicas=2")
    doors = await tidegate.doors()
"""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from tests.bed.cluster import Cluster
from tests.chaos.crowd import Doors
from tests.chaos.ledger import Witnesses
from tidegate_operator.names import OWN_ENV

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "tidegate"
RELEASE: Final = "tidegate"
_READY_SECONDS: Final = 300
_GONE_SECONDS: Final = 90.0
_WARNED_SECONDS: Final = 60.0
_WORKERS: Final = f"deployment/{RELEASE}-worker"
# The CRD stays when a release goes, and is not there before the first.
_POOLS: Final = "workerpools.tidegate.dev"
_PORTS: Final = {"http": 8080, "grpc": 50051, "sse": 8082, "websocket": 8081}


class Installation:
    """`image` is what the nodes of the cluster have, as repository:tag."""

    def __init__(self, cluster: Cluster, namespace: str, image: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        repository, _, tag = image.rpartition(":")
        self._image = ("--set", f"image.repository={repository},image.tag={tag}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.helm("uninstall", RELEASE, "--wait", "--ignore-not-found")
            await self.until_gone()

    async def install(self, *options: str, within: float = _READY_SECONDS) -> str:
        """`helm install --wait`, and what it prints. Raises as `Cluster.helm` does.

        Returns when the workers are ready too, which the operator makes.
        """
        notes = await self._helm_with("install", *options, within=within)
        await self.workers_follow()
        return notes

    async def upgrade(self, *options: str, within: float = _READY_SECONDS) -> str:
        """`helm upgrade --wait` with the values of before and these, workers included."""
        notes = await self._helm_with(
            "upgrade", "--reset-then-reuse-values", *options, within=within
        )
        await self.workers_follow()
        return notes

    async def roll_back(self, revision: int) -> None:
        """`helm rollback --wait`, workers included."""
        waiting = ("--wait", "--timeout", f"{_READY_SECONDS:.0f}s")
        await self.helm("rollback", RELEASE, str(revision), *waiting)
        await self.workers_follow()

    async def _helm_with(self, verb: str, *options: str, within: float) -> str:
        waiting = ("--wait", "--timeout", f"{within:.0f}s")
        return await self.helm(verb, RELEASE, str(CHART), *self._image, *waiting, *options)

    async def helm(self, *arguments: str) -> str:
        """helm in this namespace."""
        return await self.cluster.helm(
            *arguments, "--namespace", self.namespace, timeout=_READY_SECONDS + 60
        )

    async def kubectl(self, *arguments: str, timeout: float = _READY_SECONDS) -> str:
        """kubectl in this namespace."""
        return await self.cluster.kubectl(
            "--namespace", self.namespace, *arguments, timeout=timeout
        )

    async def secret(self, key: str) -> str:
        """A value of the Secret that the installation made."""
        found = await self.kubectl("get", "secret", f"{RELEASE}-secrets", "-o", "json")
        return base64.b64decode(json.loads(found)["data"][key]).decode()

    async def pods(self, component: str) -> list[dict[str, Any]]:
        """The pods of a component, as the API server shows them."""
        label = f"app.kubernetes.io/component={component}"
        found = await self.kubectl("get", "pods", "-l", label, "-o", "json")
        items: list[dict[str, Any]] = json.loads(found)["items"]
        return items

    async def rollout(self, workload: str) -> None:
        """Restarts every pod of a workload (`deployment/tidegate-worker`), and waits for it."""
        await self.kubectl("rollout", "restart", workload)
        await self.rolled_out(workload)

    async def rolled_out(self, workload: str) -> None:
        """Returns when a workload is as it should be."""
        await self.kubectl("rollout", "status", workload, f"--timeout={_READY_SECONDS}s")

    async def workers_follow(self) -> None:
        """Returns when the workers are made of what the release says, and all are ready."""
        until = time.monotonic() + _READY_SECONDS
        while not await self._workers_are_of_the_release():
            if time.monotonic() > until:
                pool = await self.kubectl("describe", _POOLS)
                raise AssertionError(f"the operator does not follow:\n{pool}")
            await asyncio.sleep(0.5)
        await self.rolled_out(_WORKERS)

    async def _workers_are_of_the_release(self) -> bool:
        found = await self.kubectl("get", _WORKERS, "--ignore-not-found", "-o", "json")
        if not found:
            return False
        template = await self._workers_template()
        if template is None:
            return True
        made = json.loads(found)["spec"]["template"]
        return set(_told_by(made)) == set(_told_by(template))

    async def _workers_template(self) -> dict[str, Any] | None:
        """What the operator makes workers of; None where Helm makes them itself."""
        operator = f"deployment/{RELEASE}-operator"
        found = await self.kubectl("get", operator, "--ignore-not-found", "-o", "json")
        if not found:
            return None
        volumes = json.loads(found)["spec"]["template"]["spec"]["volumes"]
        (name,) = (each["configMap"]["name"] for each in volumes if each["name"] == "pods")
        files = json.loads(await self.kubectl("get", "configmap", name, "-o", "json"))["data"]
        template: dict[str, Any] = yaml.safe_load(files["template.yaml"])
        return template

    async def address(self, service: str, port: int) -> str:
        """host:port of a Service, as it is reached from here."""
        return await self.cluster.service_address(self.namespace, f"{RELEASE}-{service}", port)

    async def doors(self) -> Doors:
        """Where clients come in, with the key that the installation made."""
        http, rpc, sse, socket = await asyncio.gather(
            self.address("gateway", _PORTS["http"]),
            self.address("gateway", _PORTS["grpc"]),
            self.address("streaming", _PORTS["sse"]),
            self.address("streaming", _PORTS["websocket"]),
        )
        return Doors(await self.secret("api-key"), [http], [rpc], [sse], [socket])

    async def witnesses(self) -> Witnesses:
        """What the judge asks; NATS as its administrator."""
        doors = await self.doors()
        nats, simulator = await asyncio.gather(
            self.address("nats", 4222), self.address("simulator", 8090)
        )
        password = await self.secret("nats-admin")
        return Witnesses(
            doors.key,
            f"http://{doors.http[0]}",
            f"http://{doors.sse[0]}",
            f"http://{simulator}",
            f"nats://admin:{password}@{nats}",
        )

    async def until_warned(self, *words: str) -> None:
        """Returns when Kubernetes warns of something in all of these words."""
        until = time.monotonic() + _WARNED_SECONDS
        while True:
            said = [str(each["message"]) for each in await self.cluster.events(self.namespace)]
            if any(all(word in message for word in words) for message in said):
                return
            if time.monotonic() > until:
                raise AssertionError(f"nothing was said of {words}, but: {said}")
            await asyncio.sleep(1)

    async def until_gone(self) -> None:
        """Returns when nothing of it is left; what owns what is cleared away in the background."""
        until = time.monotonic() + _GONE_SECONDS
        while left := await self.objects():
            if time.monotonic() > until:
                raise AssertionError(f"left behind: {', '.join(left)}")
            await asyncio.sleep(1)

    async def objects(self) -> list[str]:
        """Everything of the namespace but what Kubernetes itself puts there, as kind/name."""
        kinds = (
            "deployments,statefulsets,replicasets,pods,jobs,services,configmaps,secrets,"
            "serviceaccounts,roles,rolebindings,persistentvolumeclaims,poddisruptionbudgets,"
            "networkpolicies,ingresses,leases"
        )
        pools = await self.kubectl("get", "crd", _POOLS, "--ignore-not-found", "-o", "name")
        asked = f"{kinds},{_POOLS}" if pools else kinds
        found = await self.kubectl("get", asked, "-o", "name")
        own = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
        return sorted(set(found.split()) - own)


def _told_by(template: dict[str, Any]) -> Iterator[str]:
    """What values can change of a worker's pod but for its pool's, as texts to compare."""
    (container,) = template["spec"]["containers"]
    yield container["image"]
    own = (each for each in container["env"] if each["name"] not in OWN_ENV)
    yield from (json.dumps(each, sort_keys=True) for each in own)
    for volume in template["spec"]["volumes"]:
        yield volume.get("configMap", {}).get("name", "")
