"""What the chart renders, before the judge that counts: a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bed.cluster import Cluster, CommandError

CHART = Path(__file__).resolve().parents[2] / "charts" / "tidegate"
VALUES = [None, *sorted((CHART / "examples").glob("*.yaml"))]
# Of other projects; here they take anything, so that what the chart says is sent at all.
_FOREIGN = {
    "PodMonitor": ("monitoring.coreos.com", "v1", "podmonitors"),
    "PrometheusRule": ("monitoring.coreos.com", "v1", "prometheusrules"),
}
_RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


async def rendered(
    cluster: Cluster, namespace: str, *options: str, values: Path | None = None
) -> list[dict[str, Any]]:
    files = ("--values", str(values)) if values else ()
    text = await cluster.helm(
        "template", "tidegate", str(CHART), "--namespace", namespace, *files, *options
    )
    return [each for each in yaml.safe_load_all(text) if each]


def pods_of(objects: list[dict[str, Any]], namespace: str) -> Iterator[dict[str, Any]]:
    """Each workload's template as a Pod: policies refuse pods, and only warn of templates."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each
        template = each.get("spec", {}).get("template")
        if template:
            name = f"{each['kind']}-{each['metadata']['name']}".lower()
            spec = template["spec"]
            # A claim's name is the StatefulSet controller's business.
            claims = each["spec"].get("volumeClaimTemplates", [])
            spec.setdefault("volumes", []).extend(
                {"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims
            )
            metadata = {**template["metadata"], "name": name, "namespace": namespace}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def know(cluster: Cluster, kinds: set[str]) -> None:
    for kind in kinds & _FOREIGN.keys():
        group, version, plural = _FOREIGN[kind]
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema = {"openAPIV3Schema": anything}
        served = {"name": version, "served": True, "storage": True, "schema": schema}
        names = {"plural": plural, "singular": kind.lower(), "kind": kind}
        spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": spec,
        }
        await cluster.kubectl("apply", "-f", "-", input=json.dumps(crd))
        await cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}")


async def accounts(cluster: Cluster, namespace: str, objects: list[dict[str, Any]]) -> None:
    """Pods are refused whose service account is not there."""
    mine = [each for each in objects if each["kind"] == "ServiceAccount"]
    await cluster.apply(mine, namespace)


async def accepted(cluster: Cluster, namespace: str, objects: list[dict[str, Any]]) -> str:
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    return await cluster.kubectl(
        *("apply", "--namespace", namespace, "--dry-run=server", "--validate=strict", "-f", "-"),
        input=json.dumps(listed),
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("values", VALUES, ids=lambda each: each.stem if each else "default")
async def test_every_object_is_accepted_under_restricted_pod_security(
    control_plane: Cluster, namespace: str, values: Path | None
) -> None:
    await control_plane.kubectl("label", "namespace", namespace, _RESTRICTED)
    objects = await rendered(control_plane, namespace, values=values)
    await know(control_plane, {each["kind"] for each in objects})
    hooks = [each for each in objects if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    assert [each["kind"] for each in hooks] == ["Pod"]
    await accepted(control_plane, namespace, objects)
    await accounts(control_plane, namespace, objects)
    await accepted(control_plane, namespace, list(pods_of(objects, namespace)))


@pytest.mark.timeout(120)
async def test_a_pod_that_is_not_restricted_would_have_been_refused(
    control_plane: Cluster, namespace: str
) -> None:
    """Else the test above would prove nothing."""
    await control_plane.kubectl("label", "namespace", namespace, _RESTRICTED)
    objects = await rendered(control_plane, namespace)
    await accounts(control_plane, namespace, objects)
    pods = list(pods_of(objects, namespace))
    del pods[0]["spec"]["securityContext"]
    for container in pods[0]["spec"]["containers"]:
        container.pop("securityContext", None)
    with pytest.raises(CommandError, match="violates PodSecurity"):
        await accepted(control_plane, namespace, pods)


@pytest.mark.timeout(120)
async def test_only_who_needs_one_has_a_token(control_plane: Cluster, namespace: str) -> None:
    pods = list(pods_of(await rendered(control_plane, namespace), namespace))
    with_token = [
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod in pods
        if pod["spec"].get("automountServiceAccountToken", True)
    ]
    assert with_token == ["secrets"]
    assert not [pod for pod in pods if pod["spec"].get("enableServiceLinks", True)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "typo", ["gatway.replicas=2", "worker.replica=2", "nats.mode=bundeled", "cache.store=qdrnt"]
)
async def test_a_typo_is_refused(control_plane: Cluster, namespace: str, typo: str) -> None:
    with pytest.raises(CommandError) as raised:
        await rendered(control_plane, namespace, "--set", typo)
    wrong = typo.partition("=")
    assert wrong[0].rpartition(".")[2] in str(raised.value) or wrong[2] in str(raised.value)
