"""What a test holds in its hand: a cluster, by its kubeconfig; a bed's, or somebody's own.

await cluster.apply([{"apiVersion": "v1", "kind": "ConfigMap", ...}], namespace)
await cluster.wait_for("deployment/web", "condition=Available", namespace)
address = await cluster.service_address(namespace, "web", "http")     # ip:port
"""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from tests.bed import kwok, volumes
from tests.bed.commands import arun
from tests.bed.errors import CommandError, Unavailable
from tests.bed.forwarding import Forwarding
from tests.bed.processes import Processes

__all__ = ["Cluster", "CommandError", "Object", "port_of"]

Object = dict[str, Any]
_PATIENCE = 60.0


class Cluster:
    """One cluster and the programs that speak to it.

    `processes` are those of a bed that this process started; None where the cluster is not ours,
    and neither pretended nodes nor an address of a pod can be had then.
    """

    def __init__(
        self, kubeconfig: Path, binaries: Path, processes: Processes | None = None
    ) -> None:
        self.kubeconfig = kubeconfig
        self.binaries = binaries
        self._processes = processes
        self._forwarding = Forwarding(self.env)
        self._pretended = 0

    @property
    def is_bed(self) -> bool:
        """Whether it is a bed of this process."""
        return self._processes is not None

    @property
    def api_server(self) -> tuple[str, int]:
        """Host and port by which this process reaches the API server."""
        found = yaml.safe_load(self.kubeconfig.read_text("utf-8"))
        contexts = {each["name"]: each["context"] for each in found["contexts"]}
        clusters = {each["name"]: each["cluster"] for each in found["clusters"]}
        server = urlsplit(clusters[contexts[found["current-context"]]["cluster"]]["server"])
        return server.hostname or "", server.port or 443

    @property
    def env(self) -> dict[str, str]:
        """For a command of a test's own: PATH with kubectl and helm, KUBECONFIG, and helm's home.

        Nothing of what a person told helm counts.
        """
        path = os.pathsep.join([str(self.binaries), os.environ.get("PATH", os.defpath)])
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HELM_")}
        return kept | {"HELM_NO_PLUGINS": "1", "PATH": path, "KUBECONFIG": str(self.kubeconfig)}

    async def kubectl(
        self, *arguments: str, input: str | bytes | None = None, timeout: float = _PATIENCE
    ) -> str:
        """What kubectl prints. Raises CommandError with its standard error."""
        return await self._run("kubectl", *arguments, input=input, timeout=timeout)

    async def helm(
        self, *arguments: str, input: str | bytes | None = None, timeout: float = 5 * _PATIENCE
    ) -> str:
        """What helm prints. Raises CommandError with its standard error."""
        return await self._run("helm", *arguments, input=input, timeout=timeout)

    async def apply(self, objects: Iterable[Mapping[str, Any]], namespace: str = "default") -> None:
        """Make the objects, or make them so. Raises CommandError."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        arguments = ("apply", "--server-side", "--namespace", namespace, "--filename=-")
        await self.kubectl(*arguments, input=msgspec.json.encode(items))

    async def get(self, resource: str, name: str, namespace: str = "default") -> Object:
        """One object. Raises CommandError, also where there is none."""
        arguments = ("get", resource, name, "--namespace", namespace, "--output=json")
        found: Object = msgspec.json.decode(await self.kubectl(*arguments))
        return found

    async def find(
        self, resource: str, namespace: str = "default", selector: str = ""
    ) -> list[Object]:
        """All objects of a kind in a namespace, or those with the labels of `selector`."""
        arguments = ("get", resource, "--namespace", namespace, "--selector", selector)
        found = msgspec.json.decode(await self.kubectl(*arguments, "--output=json"))
        items: list[Object] = found["items"]
        return items

    async def events(self, namespace: str) -> list[Object]:
        """What Kubernetes says of what happens in a namespace, the oldest first."""
        arguments = ("get", "events", "--namespace", namespace, "--output=json")
        sort = "--sort-by=.metadata.creationTimestamp"
        items: list[Object] = msgspec.json.decode(await self.kubectl(*arguments, sort))["items"]
        return items

    async def wait_for(
        self, resource: str, what: str, namespace: str = "default", within: float = _PATIENCE
    ) -> None:
        """`kubectl wait`: `resource` is "pod/name" or "pods -l …", `what` "condition=Ready".

        One that does not exist yet is waited for as well. Raises CommandError after the seconds.
        """
        until = time.monotonic() + within
        common = ("--namespace", namespace, *resource.split())
        if what != "delete":
            await self._wait("create", *common, seconds=within)
        await self._wait(what, *common, seconds=max(1.0, until - time.monotonic()))

    async def service_address(self, namespace: str, service: str, port: str | int) -> str:
        """`ip:port` by which this process reaches a Service's port, named or by its number.

        On a bed the Service's own address, or that of a ready pod where it has none; elsewhere a
        port of loopback that kubectl forwards as long as this object lives.
        """
        found = await self.get("service", service, namespace)
        entry = port_of(found, port)
        if not self.is_bed:
            return self._forwarding.address(namespace, service, entry["port"])
        ip = found["spec"]["clusterIP"]
        if ip != "None":
            return f"{ip}:{entry['port']}"
        return await self._pod_address(namespace, service, entry.get("name", ""))

    async def add_nodes(self, count: int) -> list[str]:
        """More pretended nodes, ready. Raises Unavailable where the cluster is not a bed."""
        if self._processes is None:
            raise Unavailable("pretended nodes need a bed: unset TIDEGATE_TEST_KUBECONFIG")
        kwok.start(self._processes, self.binaries, self.kubeconfig)
        nodes = kwok.nodes(self._pretended, count)
        self._pretended += count
        await self.apply(nodes)
        names = [str(node["metadata"]["name"]) for node in nodes]
        resources = " ".join(f"node/{name}" for name in names)
        try:
            await self.wait_for(resources, "condition=Ready", within=2 * _PATIENCE)
        except CommandError:
            self._processes.check()  # its last words say more than that nothing came
            raise
        return names

    async def restart_api_server(self) -> None:
        """kill -9 and start again; returns once it is ready. Raises Unavailable for no bed."""
        if self._processes is None:
            raise Unavailable("to restart the API server needs a bed")
        self._processes.restart("apiserver")
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                await self.kubectl("get", "--raw", "/readyz", "--request-timeout=2s")
                return
            except CommandError:
                self._processes.check()
                if time.monotonic() > until:
                    raise

    async def free_volumes(self) -> None:
        """Give the bed's volumes back whose claims are gone, empty."""
        if not self.is_bed:
            return
        found = {each["metadata"]["name"]: each for each in await self.find("persistentvolumes")}
        for name in volumes.released(list(found.values())):
            volumes.empty(found[name])
            patch = '{"spec": {"claimRef": null}}'
            await self.kubectl("patch", "persistentvolume", name, "--type=merge", "--patch", patch)

    def close(self) -> None:
        """End what this object started by itself."""
        self._forwarding.close()

    async def _run(
        self, program: str, *arguments: str, input: str | bytes | None, timeout: float
    ) -> str:
        given = input.encode() if isinstance(input, str) else input
        command = [str(self.binaries / program), *arguments]
        return await arun(command, input=given, env=self.env, timeout=timeout)

    async def _wait(self, what: str, *arguments: str, seconds: float) -> None:
        limit = f"--timeout={seconds:.0f}s"
        await self.kubectl("wait", f"--for={what}", limit, *arguments, timeout=seconds + 10)

    async def _pod_address(self, namespace: str, service: str, port: str) -> str:
        selector = f"kubernetes.io/service-name={service}"
        for found in await self.find("endpointslices", namespace, selector):
            ports = {each.get("name", ""): each["port"] for each in found.get("ports") or ()}
            for endpoint in found.get("endpoints") or ():
                if endpoint.get("conditions", {}).get("ready") and port in ports:
                    return f"{endpoint['addresses'][0]}:{ports[port]}"
        raise CommandError(["service_address", service], 1, "no pod of it is ready")


def port_of(service: Object, port: str | int) -> Object:
    """The entry of a Service for a port. Raises LookupError, with those that there are."""
    entries: list[Object] = service["spec"].get("ports", [])
    for entry in entries:
        if port in (entry.get("name"), entry["port"]):
            return entry
    raise LookupError(f"{service['metadata']['name']} has no port {port}, but {entries}")
