"""The node itself: what every test of an installed Tidegate stands on."""

import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.bed import base_image as base_images
from tests.bed import cgroups, cleaning, images, mounts, network, places, processes, state
from tests.bed.cluster import Cluster, CommandError
from tests.support.processes import python_process

_USER = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_RUN = """
import os, pathlib, time
from tests.bed import images, node
programs = pathlib.Path(os.environ["PROGRAMS"])
folder, _ = node.up(programs, [images.pause_image(programs)], lambda _: None)
print(folder, flush=True)
time.sleep(600)
"""
_LABELS = {"app": "web"}
_SERVER = """\
import http.server, os, socket, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/data/visits", "a") as file: file.write("x")
        said = {"visits": os.path.getsize("/data/visits"), "uid": os.getuid(),
                "name": socket.gethostbyname("web")}
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps(said).encode())
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def web(image: str) -> list[dict[str, Any]]:
    """A claim, a pod that counts on it, and a Service before that."""
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {
                "selector": _LABELS,
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "web"},
            "spec": {
                "serviceName": "web",
                "selector": {"matchLabels": _LABELS},
                "template": {"metadata": {"labels": _LABELS}, "spec": pod(image)},
            },
        },
    ]


def pod(image: str) -> dict[str, Any]:
    return {
        "securityContext": _USER,
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": ["python3", "-c", _SERVER],
                "securityContext": _CONTAINER,
                "resources": {"limits": {"memory": "128Mi"}},
                "readinessProbe": {
                    "tcpSocket": {"port": 8080},
                    "periodSeconds": 1,
                },
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    }


def fetch(address: str) -> Any:
    """What the pod says. A pod is ready a moment before its Service leads there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + 10
    while True:
        try:
            with opener.open(f"http://{address}/", timeout=10) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


async def test_a_pod_serves_by_name_and_keeps_its_data(
    bed: Cluster, base_image: str, node_namespace: str
) -> None:
    await bed.kubectl(
        *("label", "namespace", node_namespace, "pod-security.kubernetes.io/enforce=restricted")
    )
    await bed.apply(web(base_image), node_namespace)
    await bed.wait_for("pod/web-0", "condition=Ready", node_namespace)
    address = await bed.service_address(node_namespace, "web", "http")
    first = fetch(address)
    assert first["visits"] == 1
    assert first["uid"] == 10001
    assert f"{first['name']}:80" == address

    before = await bed.get("pod", "web-0", node_namespace)
    await bed.kubectl("delete", "pod", "web-0", "--namespace", node_namespace)
    await bed.wait_for("pod/web-0", "condition=Ready", node_namespace)
    after = await bed.get("pod", "web-0", node_namespace)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert fetch(address)["visits"] == 2


async def test_logs_and_commands_reach_a_container(
    bed: Cluster, base_image: str, node_namespace: str
) -> None:
    command = ["python3", "-c", "import time; print('said', flush=True); time.sleep(600)"]
    container = {"name": "main", "image": base_image, "command": command}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    await bed.apply([one], node_namespace)
    await bed.wait_for("pod/one", "condition=Ready", node_namespace)
    assert await bed.kubectl("logs", "one", "--namespace", node_namespace) == "said\n"
    said = await bed.kubectl(
        "exec", "one", "--namespace", node_namespace, "--", "python3", "-c", "print(1)"
    )
    assert said == "1\n"


async def test_a_service_reaches_its_own_pod_and_the_api(
    bed: Cluster, base_image: str, node_namespace: str
) -> None:
    """A pod that calls itself by its Service, and one that asks the API server as an account."""
    await bed.apply(web(base_image), node_namespace)
    await bed.wait_for("pod/web-0", "condition=Ready", node_namespace)
    fetch(await bed.service_address(node_namespace, "web", "http"))
    inside = ("exec", "web-0", "--namespace", node_namespace, "--", "python3", "-c")
    hairpin = "import urllib.request as u; print(u.urlopen('http://web', timeout=10).status)"
    assert await bed.kubectl(*inside, hairpin) == "200\n"
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    asking = (
        "import ssl, urllib.request as u;"
        f"context = ssl.create_default_context(cafile='{account}/ca.crt');"
        "url = 'https://kubernetes.default.svc/version';"
        "print(u.urlopen(url, context=context, timeout=10).status)"
    )
    assert await bed.kubectl(*inside, asking) == "200\n"


async def test_an_image_that_nobody_has_is_told(node: Cluster, node_namespace: str) -> None:
    container = {"name": "main", "image": "localhost/nobody:1", "imagePullPolicy": "Never"}
    one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}
    await node.apply([one | {"spec": {"containers": [container]}}], node_namespace)
    waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    await node.wait_for("pod/one", f"{waiting}=ErrImageNeverPull", node_namespace)
    told = [event["reason"] for event in await node.events(node_namespace)]
    assert "ErrImageNeverPull" in told


async def test_what_a_killed_run_leaves_is_ended_by_the_next(bed: Cluster, base_image: str) -> None:
    """A second bed, with a pod on it, whose process is killed."""
    free = [each for each in network.SLOTS if not (places.state() / f"node-{each}").exists()]
    if not free:
        pytest.skip("both places for a node are taken")
    folder = places.state() / f"node-{free[0]}"
    group = cleaning.cgroup_of(free[0])
    environ = {
        "PROGRAMS": str(bed.binaries),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", ""),
    }
    async with python_process(_RUN, environ) as run:
        assert run.stdout is not None
        assert (await run.stdout.readline()).decode().strip() == str(folder)
        second = Cluster(folder / "kubeconfig", bed.binaries)
        images.load(folder, base_images.base_image(print))
        container = {"name": "main", "image": base_image, "command": ["sleep", "600"]}
        one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}
        await second.apply([one | {"spec": {"containers": [container]}}])
        await second.wait_for("pod/one", "condition=Ready")
        assert cgroups.pids(group)
    assert processes.of_bed(folder)
    state.sweep()
    assert processes.of_bed(folder) == []
    assert cgroups.pids(group) == set()
    assert mounts.below(folder) == []
    assert folder not in [each for each, _ in state.beds()]
    assert network.Network(free[0]).wire not in os.listdir("/sys/class/net")
    assert await bed.kubectl("get", "--raw", "/readyz") == "ok"


async def test_no_name_leads_out(bed: Cluster, base_image: str, node_namespace: str) -> None:
    """At once: a test would otherwise wait for a resolver that nobody has."""
    await bed.apply(web(base_image), node_namespace)
    await bed.wait_for("pod/web-0", "condition=Ready", node_namespace)
    asking = "import socket; socket.gethostbyname('tidegate.invalid')"
    command = ("exec", "web-0", "--namespace", node_namespace, "--", "python3", "-c", asking)
    with pytest.raises(CommandError, match="gaierror"):
        await bed.kubectl(*command, timeout=5)
