"""The operator as the chart installs it: its rights, what it makes workers of, and the CRD."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bed.cluster import Cluster, CommandError
from tests.bed.fixtures import own_namespace
from tests.cluster.test_chart import CHART, one, rendered

_CRD = "workerpools.tidegate.dev"
_KEEP = "helm.sh/resource-policy"
_SCHEMA = "tidegate.dev/schema"
_WIDE = Path(__file__).with_name("values") / "cluster-wide.yaml"
_PINNED = ("--set", "operator.replicas=2")
# Where pools are.
_RULES = {
    ("tidegate.dev", "workerpools", "", "get list watch"),
    ("tidegate.dev", "workerpools/status", "", "patch"),
    ("apps", "deployments", "", "get list watch create patch"),
    ("policy", "poddisruptionbudgets", "", "get create patch"),
    ("autoscaling", "horizontalpodautoscalers", "", "list watch"),
    ("", "pods", "", "patch"),
    ("", "events", "", "create"),
}
# In the operator's own namespace alone.
_OWN_RULES = {
    ("coordination.k8s.io", "leases", "", "create"),
    ("coordination.k8s.io", "leases", "tidegate-operator", "get update"),
    ("", "configmaps", "tidegate-operator", "get"),
    ("tidegate.dev", "workerpools", "tidegate-worker", "create patch"),
}


def rules_of(role: dict[str, Any]) -> set[tuple[str, str, str, str]]:
    return {
        (group, resource, " ".join(rule.get("resourceNames", [])), " ".join(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def pools_of(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pools that the operator makes by itself."""
    found: list[dict[str, Any]] = yaml.safe_load(
        one(objects, "ConfigMap", "worker")["data"]["pools.yaml"]
    )
    return found


def pods_file(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """A file of the ConfigMap that the operator makes pods of."""
    found: dict[str, Any] = yaml.safe_load(one(objects, "ConfigMap", "worker")["data"][name])
    return found


def written_crd() -> dict[str, Any]:
    crd: dict[str, Any] = yaml.safe_load((CHART / "files" / "crd.yaml").read_text("utf-8"))
    return crd


def schema_of(crd: dict[str, Any]) -> int:
    return int(crd["metadata"]["annotations"][_SCHEMA])


async def put_crd(
    cluster: Cluster, *, owner: tuple[str, str] | None = None, older: int = 0
) -> None:
    """The CRD as a release (its name and namespace) or nobody would have left it."""
    crd = written_crd()
    notes = {**crd["metadata"]["annotations"], _KEEP: "keep"}
    notes[_SCHEMA] = str(schema_of(crd) - older)
    labels = {}
    if owner is not None:
        labels["app.kubernetes.io/managed-by"] = "Helm"
        notes["meta.helm.sh/release-name"], notes["meta.helm.sh/release-namespace"] = owner
    crd["metadata"] |= {"annotations": notes, "labels": labels}
    # Of another manager some fields would stay as they were.
    # Its objects go before it does, those of namespaces that are on their way out among them.
    await cluster.kubectl("delete", "crd", _CRD, "--ignore-not-found", timeout=240)
    manager = "helm" if owner else "kubectl"
    await cluster.kubectl(
        *("apply", "--server-side", f"--field-manager={manager}", "-f", "-"), input=json.dumps(crd)
    )
    await cluster.kubectl("wait", "--for=condition=Established", f"crd/{_CRD}")


@pytest.fixture
async def crd(control_plane: Cluster) -> AsyncIterator[None]:
    """The CRD, nobody's and of today, before the test and after it."""
    await put_crd(control_plane)
    yield
    await put_crd(control_plane)


async def rendered_there(cluster: Cluster, namespace: str, *options: str) -> list[dict[str, Any]]:
    """With the cluster's say: what is in it counts."""
    return await rendered(cluster, namespace, "--dry-run=server", *options)


def has_crd(objects: list[dict[str, Any]]) -> bool:
    return any(each["kind"] == "CustomResourceDefinition" for each in objects)


@pytest.mark.timeout(120)
async def test_it_may_do_what_is_listed_and_no_more(control_plane: Cluster, namespace: str) -> None:
    objects = await rendered(control_plane, namespace)
    assert rules_of(one(objects, "Role", "operator")) == _RULES | _OWN_RULES
    assert not [each for each in objects if each["kind"].startswith("Cluster")]


@pytest.mark.timeout(120)
async def test_cluster_wide_its_own_affairs_stay_in_its_namespace(
    control_plane: Cluster, namespace: str
) -> None:
    objects = await rendered(control_plane, namespace, values=_WIDE)
    assert rules_of(one(objects, "Role", "operator")) == _OWN_RULES
    role = one(objects, "ClusterRole", "operator")
    assert rules_of(role) == _RULES
    binding = one(objects, "ClusterRoleBinding", "operator")
    assert (
        binding["roleRef"]["name"] == role["metadata"]["name"] == f"{namespace}-tidegate-operator"
    )
    assert not has_crd(objects)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
async def test_its_account_may_make_the_default_pool_and_no_other(
    control_plane: Cluster, namespace: str
) -> None:
    """By server-side apply, which asks for a right by the object's name."""
    objects = await rendered(control_plane, namespace)
    rights = [one(objects, kind, "operator") for kind in ("ServiceAccount", "Role", "RoleBinding")]
    await control_plane.apply(rights, namespace)
    account = ("--as", f"system:serviceaccount:{namespace}:tidegate-operator")
    applying = (*account, "--namespace", namespace, "apply", "--server-side", "-f", "-")
    (pool,) = pools_of(objects)
    await control_plane.kubectl(*applying, input=json.dumps(pool))
    await control_plane.kubectl(*applying, input=json.dumps(pool))
    pool["metadata"]["name"] = "another"
    with pytest.raises(CommandError, match="forbidden"):
        await control_plane.kubectl(*applying, input=json.dumps(pool))
    for forbidden in ("delete workerpools", "delete deployments", "get secrets", "get pods"):
        may = (*account, "--namespace", namespace, "auth", "can-i", *forbidden.split())
        with pytest.raises(CommandError):
            await control_plane.kubectl(*may)


@pytest.mark.timeout(120)
async def test_network_policies_let_it_reach_what_it_needs(
    control_plane: Cluster, namespace: str
) -> None:
    objects = await rendered(control_plane, namespace, values=_WIDE)
    rules = one(objects, "NetworkPolicy", "operator")["spec"]["egress"]
    ports = {port["port"] for rule in rules for port in rule["ports"]}
    assert ports == {53, 4222, 443, 6443}
    clients = one(objects, "NetworkPolicy", "nats")["spec"]["ingress"][0]["from"]
    label = "app.kubernetes.io/component"
    assert "operator" in {each["podSelector"]["matchLabels"][label] for each in clients}


@pytest.mark.timeout(120)
async def test_nothing_of_the_chart_says_how_many_workers_there_are(
    control_plane: Cluster, namespace: str
) -> None:
    """Else an upgrade would undo what the operator decided, or a person pinned."""
    objects = await rendered(control_plane, namespace)
    (pool,) = pools_of(objects)
    assert "replicas" not in pool["spec"]
    made = {(each["kind"], each["metadata"]["name"]) for each in objects}
    assert ("ServiceAccount", "tidegate-worker") in made
    assert not made & {
        ("Deployment", "tidegate-worker"),
        ("PodDisruptionBudget", "tidegate-worker"),
    }


@pytest.mark.timeout(120)
async def test_workers_are_the_same_with_the_operator_and_without(
    control_plane: Cluster, namespace: str
) -> None:
    """But for how long they drain, which each pool says for itself."""
    options = ("--set", "worker.podLabels.team=chat,worker.settings.TIDEGATE_MAX_ATTEMPTS=3")
    with_it = pods_file(await rendered(control_plane, namespace, *options), "template.yaml")
    off = await rendered(control_plane, namespace, *options, "--set", "operator.enabled=false")
    without = one(off, "Deployment", "worker")["spec"]["template"]
    assert without["spec"].pop("terminationGracePeriodSeconds") == 70
    (container,) = without["spec"]["containers"]
    container["env"].remove({"name": "TIDEGATE_DRAIN_SECONDS", "value": "60"})
    assert with_it == without
    assert not has_crd(off)
    assert not [each for each in off if "operator" in each["metadata"]["name"]]


@pytest.mark.timeout(120)
async def test_new_pods_of_the_operator_bring_what_has_changed(
    control_plane: Cluster, namespace: str
) -> None:
    """A running one has read its files, and keeps those that it was started with."""

    async def mounted(*options: str) -> str:
        objects = await rendered(control_plane, namespace, *options)
        spec = one(objects, "Deployment", "operator")["spec"]["template"]["spec"]
        (name,) = (each["configMap"]["name"] for each in spec["volumes"] if "configMap" in each)
        assert one(objects, "ConfigMap", "worker")["metadata"]["name"] == name
        return str(name)

    before = await mounted()
    assert await mounted("--set", "gateway.replicas=3") == before
    routes = "routes.providers.x.base_url=http://x,routes.models.x.queue=slow"
    changes = ("image.tag=0.2.0", "worker.pool.maxReplicas=20", routes)
    names = [await mounted("--set", change) for change in changes]
    assert len({before, *names}) == 4


@pytest.mark.timeout(120)
async def test_an_uninstall_leaves_the_crd(control_plane: Cluster, namespace: str) -> None:
    crd = one(await rendered(control_plane, namespace), "CustomResourceDefinition", "operator")
    assert crd["metadata"]["name"] == _CRD
    assert crd["metadata"]["annotations"] == {
        **written_crd()["metadata"]["annotations"],
        _KEEP: "keep",
    }
    assert crd["spec"] == written_crd()["spec"]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize(
    ("owner", "older", "applied"),
    [
        (None, 0, False),
        (None, -1, False),
        (("tidegate", "elsewhere"), 0, False),
        (("other", "{namespace}"), 0, False),
        (("tidegate", "{namespace}"), 0, True),
        (("tidegate", "{namespace}"), 1, True),
        (("tidegate", "{namespace}"), -1, False),
    ],
)
async def test_a_crd_is_applied_by_its_own_release_alone_and_never_made_older(
    control_plane: Cluster,
    namespace: str,
    owner: tuple[str, str] | None,
    older: int,
    applied: bool,
) -> None:
    mine = (owner[0], owner[1].format(namespace=namespace)) if owner else None
    await put_crd(control_plane, owner=mine, older=older)
    assert has_crd(await rendered_there(control_plane, namespace)) is applied


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize("owner", [None, ("first", "elsewhere")], ids=["nobody's", "another's"])
async def test_a_crd_that_is_too_old_can_be_taken_over_as_it_is_said(
    control_plane: Cluster, namespace: str, owner: tuple[str, str] | None
) -> None:
    await put_crd(control_plane, owner=owner, older=1)
    with pytest.raises(CommandError) as raised:
        await rendered_there(control_plane, namespace)
    said = str(raised.value)
    assert ("first in namespace elsewhere" if owner else "nobody's") in said
    assert not has_crd(
        await rendered_there(control_plane, namespace, "--set", "crds.enabled=false")
    )
    commands = [line.split() for line in said.splitlines() if line.startswith("  kubectl ")]
    assert len(commands) == 2
    for _, *arguments in commands:
        await control_plane.kubectl(*arguments)
    options = ("--namespace", namespace, *_PINNED)
    await control_plane.helm("install", "tidegate", str(CHART), *options, *taken_over(said))
    found = await control_plane.get("crd", _CRD)
    assert schema_of(found) == schema_of(written_crd())
    await control_plane.helm("uninstall", "tidegate", "--namespace", namespace)


def taken_over(said: str) -> tuple[str, ...]:
    """The options of helm that the message asks for."""
    return ("--force-conflicts",) if "--force-conflicts" in said else ()


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("crd")
async def test_two_releases_share_a_crd_which_outlives_both(
    control_plane: Cluster, namespace: str
) -> None:
    async with own_namespace(control_plane) as second:
        await put_crd(control_plane, owner=("tidegate", namespace))
        uid = (await control_plane.get("crd", _CRD))["metadata"]["uid"]

        async def helm(verb: str, within: str, *options: str) -> None:
            chart = () if verb == "uninstall" else (str(CHART),)
            await control_plane.helm(verb, "tidegate", *chart, *options, "--namespace", within)

        await helm("install", namespace)
        await helm("install", second)
        await helm("upgrade", second, *_PINNED)
        await helm("uninstall", namespace)
        await helm("upgrade", second, "--set", "operator.replicas=1")
        await helm("install", namespace)
        for each in (namespace, second):
            await helm("uninstall", each)
        assert (await control_plane.get("crd", _CRD))["metadata"]["uid"] == uid


@pytest.mark.timeout(120)
async def test_a_secret_without_the_operators_password_is_refused_before_anything_waits(
    control_plane: Cluster, namespace: str
) -> None:
    named = ("--set", "secrets.existingSecret=own")
    assert await rendered_there(control_plane, namespace, *named)
    making = ("--namespace", namespace, "create", "secret", "generic", "own")
    await control_plane.kubectl(*making, "--from-literal=nats-worker=x")
    with pytest.raises(CommandError, match="the Secret own lacks nats-operator"):
        await rendered_there(control_plane, namespace, *named)
    off = ("--set", "operator.enabled=false")
    assert await rendered_there(control_plane, namespace, *named, *off)
