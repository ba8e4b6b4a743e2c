"""The pools that the chart has made: for which queues, by which names, and what is in their way."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bed.cluster import Cluster, CommandError
from tests.cluster.test_chart import CHART, accepted, one, rendered
from tests.cluster.test_chart_operator import pools_of, put_crd, rendered_there, rules_of
from tidegate_operator.default_pool import load_pools

_WIDE = Path(__file__).with_name("values") / "cluster-wide.yaml"
_WIDE_POOL: dict[str, Any] = yaml.safe_load(_WIDE.read_text("utf-8"))["worker"]["pool"]


def queues_of(objects: list[dict[str, Any]]) -> dict[str, str]:
    """The queue of each of them, by its name."""
    return {each["metadata"]["name"]: each["spec"]["queue"] for each in pools_of(objects)}


def routed(*queues: str) -> tuple[str, ...]:
    """Routes of models for these queues, and one of a model that embeds."""
    models = [f"routes.models.m{index}.queue={queue}" for index, queue in enumerate(queues)]
    values = ["routes.providers.x.base_url=http://x", "routes.models.e.kind=embeddings", *models]
    return ("--set", ",".join(values))


async def owner_of_pools(
    cluster: Cluster, namespace: str, objects: list[dict[str, Any]]
) -> dict[str, Any]:
    """A reference to the release's ConfigMap, as Helm would have left that in the cluster."""
    made = one(objects, "ConfigMap", "operator")
    release = {"release-name": "tidegate", "release-namespace": namespace}
    notes = {f"meta.helm.sh/{key}": value for key, value in release.items()}
    made["metadata"]["annotations"] = notes
    await cluster.apply([made], namespace)
    name = made["metadata"]["name"]
    found = await cluster.get("configmap", name, namespace)
    uid = found["metadata"]["uid"]
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}


@pytest.fixture
async def crd(control_plane: Cluster) -> None:
    """The CRD of today, nobody's."""
    await put_crd(control_plane)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
async def test_the_default_pool_is_accepted(control_plane: Cluster, namespace: str) -> None:
    await accepted(control_plane, namespace, pools_of(await rendered(control_plane, namespace)))
    (pool,) = pools_of(await rendered(control_plane, namespace, values=_WIDE))
    await accepted(control_plane, namespace, [pool])
    assert pool["spec"] == {**_WIDE_POOL, "drainSeconds": 91}


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
async def test_each_queue_that_the_routes_name_has_a_pool(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Else its jobs would wait for workers that nobody makes."""
    longest = "q" * 62 + "_"
    options = routed("default", "slow_chat", "slow_chat", longest, "trailing-")
    objects = await rendered(control_plane, namespace, *options)
    pools = pools_of(objects)
    await accepted(control_plane, namespace, pools)
    names = queues_of(objects)
    assert names["tidegate-worker"] == "default"
    assert names["tidegate-worker-slow-chat"] == "slow_chat"
    assert sorted(names.values()) == sorted(["default", "slow_chat", longest, "trailing-"])
    # A pod's name is cut at 58 characters, and begins with all of its pool's.
    assert max(len(name) for name in names) <= 57
    for pool in pools:
        assert pool["spec"] == {**pools[0]["spec"], "queue": pool["spec"]["queue"]}
    file = tmp_path / "pools.yaml"
    file.write_text(one(objects, "ConfigMap", "worker")["data"]["pools.yaml"], "utf-8")
    assert load_pools(file, "TIDEGATE_OPERATOR_DEFAULT_POOL_FILE") == pools
    rules = rules_of(one(objects, "Role", "operator"))
    assert ("tidegate.dev", "workerpools", " ".join(sorted(names)), "create patch") in rules


@pytest.mark.timeout(120)
async def test_a_pool_is_called_the_same_whatever_other_queues_there_are(
    control_plane: Cluster, namespace: str
) -> None:
    """Else a new route would leave a pool behind that keeps the queue from its successor."""
    queues = ("a_b", "b" * 40)
    alone = queues_of(await rendered(control_plane, namespace, *routed(*queues)))
    more = queues_of(await rendered(control_plane, namespace, *routed("0", *queues, "c")))
    assert "tidegate-worker" not in alone
    assert alone.items() <= more.items()


@pytest.mark.timeout(120)
async def test_generated_routes_name_the_queue_that_has_the_pool(
    control_plane: Cluster, namespace: str
) -> None:
    objects = await rendered(control_plane, namespace, "--set", "worker.pool.queue=other")
    assert queues_of(objects) == {"tidegate-worker": "other"}
    models = yaml.safe_load(one(objects, "ConfigMap", "routes")["data"]["routes.yaml"])["models"]
    queues = [each["queue"] for each in models.values() if each.get("kind") != "embeddings"]
    assert set(queues) == {"other"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (routed("a_b", "a-b"), "whose pools would both be called tidegate-worker-a-b"),
        (routed("Chat"), "routes.models names the queue Chat"),
    ],
)
async def test_queues_that_no_pool_can_be_made_for_are_refused(
    control_plane: Cluster, namespace: str, options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(CommandError) as raised:
        await rendered(control_plane, namespace, *options)
    assert said in str(raised.value)
    without = (*options, "--set", "worker.pool.create=false")
    assert await rendered(control_plane, namespace, *without)


@pytest.mark.timeout(120)
async def test_pools_can_be_left_to_people_alone(control_plane: Cluster, namespace: str) -> None:
    off = ("--set", "worker.pool.create=false")
    objects = await rendered(control_plane, namespace, *off)
    assert "pools.yaml" not in one(objects, "ConfigMap", "worker")["data"]
    assert ("tidegate.dev", "workerpools", "tidegate-worker", "create patch") not in rules_of(
        one(objects, "Role", "operator")
    )
    (container,) = one(objects, "Deployment", "operator")["spec"]["template"]["spec"]["containers"]
    assert "TIDEGATE_OPERATOR_DEFAULT_POOL_FILE" not in {each["name"] for each in container["env"]}


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
async def test_a_changed_default_pool_keeps_the_number_that_somebody_has_pinned(
    control_plane: Cluster, namespace: str
) -> None:
    """As an upgrade does it: the operator applies what its new file says."""
    manager = ("--field-manager=tidegate-operator", "--namespace", namespace, "-f", "-")

    async def upgraded(*options: str) -> dict[str, Any]:
        (pool,) = pools_of(await rendered(control_plane, namespace, *options))
        await control_plane.kubectl("apply", "--server-side", *manager, input=json.dumps(pool))
        found = await control_plane.get("workerpools", "tidegate-worker", namespace)
        spec: dict[str, Any] = found["spec"]
        return spec

    assert "replicas" not in await upgraded()
    scaling = ("scale", "wp", "tidegate-worker", "--replicas=5", "--namespace", namespace)
    await control_plane.kubectl(*scaling)
    spec = await upgraded("--set", "worker.pool.maxReplicas=20")
    assert (spec["replicas"], spec["maxReplicas"]) == (5, 20)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), None),
        (routed("slow_chat"), None),
        (("--set", "existingRoutes.configMap=own"), "there is one for default. For another:"),
        (
            ("--set", "existingRoutes.configMap=own,worker.pool.create=false"),
            "so there is none yet:",
        ),
        ((*routed("slow_chat", "b"), "--set", "worker.pool.create=false"), "queues b, slow_chat."),
    ],
)
async def test_a_queue_that_may_have_no_pool_is_spoken_of_after_the_install(
    control_plane: Cluster, namespace: str, options: tuple[str, ...], said: str | None
) -> None:
    notes = await control_plane.helm(
        *("install", "tidegate", str(CHART), "--dry-run=client", "--namespace", namespace),
        *options,
    )
    lines = [line for line in notes.splitlines() if line.startswith("    {apiVersion")]
    assert len(lines) == (0 if said is None else 1)
    if said is not None:
        assert said in notes
        pool = yaml.safe_load(lines[0].replace("QUEUE", "mine"))
        await accepted(control_plane, namespace, [pool])


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
async def test_a_pool_that_is_left_over_is_spoken_of(
    control_plane: Cluster, namespace: str
) -> None:
    """It goes on having a worker, and nobody asks for it."""
    objects = await rendered(control_plane, namespace, *routed("default", "a", "b"))
    pools = pools_of(objects)
    owner = await owner_of_pools(control_plane, namespace, objects)
    for pool in pools:
        if pool["spec"]["queue"] != "b":
            pool["metadata"]["ownerReferences"] = [owner]
    await control_plane.apply(pools, namespace)

    async def notes(*options: str) -> str:
        return await control_plane.helm(
            *("install", "tidegate", str(CHART), "--dry-run=server", "--namespace", namespace),
            *options,
        )

    assert "delete wp tidegate-worker-a\n" in await notes()
    assert "delete wp" not in await notes(*routed("default", "a"))


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
async def test_an_autoscaler_of_the_workers_is_told_of_before_it_is_met(
    control_plane: Cluster, namespace: str
) -> None:
    """It would go on deciding how many workers there are, as it did before the operator."""

    def autoscaler(name: str, target: str) -> dict[str, Any]:
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
        return {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {"scaleTargetRef": reference, "maxReplicas": 3},
        }

    await control_plane.apply([autoscaler("others", "tidegate-gateway")], namespace)
    assert await rendered_there(control_plane, namespace)
    await control_plane.apply([autoscaler("mine", "tidegate-worker")], namespace)
    with pytest.raises(CommandError, match="delete hpa mine"):
        await rendered_there(control_plane, namespace)
    for way_out in ("worker.pool.create=false", "operator.enabled=false"):
        assert await rendered_there(control_plane, namespace, "--set", way_out)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("crd")
async def test_what_the_cluster_has_already_is_looked_at(
    control_plane: Cluster, namespace: str
) -> None:
    await control_plane.apply(pools_of(await rendered(control_plane, namespace)), namespace)
    assert await rendered_there(control_plane, namespace)
    with pytest.raises(CommandError, match="tidegate-worker serves the queue default"):
        await rendered_there(control_plane, namespace, "--set", "worker.pool.queue=slow")
    labels = {"app": uuid.uuid4().hex}
    pod = {"containers": [{"name": "worker", "image": "none"}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "tidegate-worker",
            "labels": {"app.kubernetes.io/managed-by": "tidegate-operator"},
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    await control_plane.apply([deployment], namespace)
    with pytest.raises(CommandError, match="delete workerpool tidegate-worker"):
        await rendered_there(control_plane, namespace, "--set", "operator.enabled=false")
