"""Nodes that nobody has: kwok answers for them, and pods on them run at once and cost nothing.

https://kwok.sigs.k8s.io/docs/user/stages-configuration/
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from tests.bed.processes import Processes

_MARK: Final = {"kwok.x-k8s.io/node": "fake"}
_LABELS: Final = {"type": "kwok", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
_ROOM: Final = {"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "1Ti"}

_NOW: Final = "{{ $now := Now }}\n"
_NODE_READY: Final = """\
conditions:
- {type: Ready, status: "True", reason: Pretended, message: "",
   lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
"""
_POD_READY: Final = """\
phase: Running
startTime: {{ $now | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, ready: true, started: true,
   restartCount: 0, state: {running: {startedAt: {{ $now | Quote }}}}}
{{ end }}
"""
_POD_DONE: Final = """\
phase: Succeeded
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, ready: false, started: false,
   restartCount: 0, state: {terminated: {exitCode: 0, reason: Completed,
   startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}}
{{ end }}
"""
_READY: Final = '.status.conditions.[] | select( .type == "Ready" ) | .status'
_DELETED: Final = ".metadata.deletionTimestamp"


def start(processes: Processes, binaries: Path, kubeconfig: Path) -> None:
    """Start it, unless it runs."""
    if processes.runs("kwok"):
        return
    config = processes.folder / "kwok.yaml"
    config.write_text("\n---\n".join(map(_text, stages())), encoding="utf-8")
    marks = ",".join(f"{key}={value}" for key, value in _MARK.items())
    processes.start(
        "kwok",
        binaries / "kwok",
        *("--kubeconfig", kubeconfig, "--config", config, "--manage-all-nodes=false"),
        f"--manage-nodes-with-annotation-selector={marks}",
        # With a lease a node stays ready without a word of its status.
        *("--node-lease-duration-seconds", "40"),
        *("--cidr", "10.244.0.0/16", "--node-ip", "10.0.0.1"),
    )


def nodes(first: int, count: int) -> list[dict[str, Any]]:
    """Node objects, numbered from `first`; there is room for a thousand pods on each."""
    return [_node(f"kwok-{number}") for number in range(first, first + count)]


def stages() -> list[dict[str, Any]]:
    """What becomes of nodes and pods, each step at once: ready; done, for a Job's; deleted."""
    here = (_DELETED, "DoesNotExist")
    phase = ".status.phase"
    return [
        _stage("node-ready", "Node", [(_READY, "NotIn", "True")], _status(_NODE_READY)),
        _stage("pod-ready", "Pod", [here, (phase, "In", "Pending")], _status(_POD_READY)),
        _stage(
            "pod-done",
            "Pod",
            [here, (phase, "In", "Running"), (".metadata.ownerReferences.[].kind", "In", "Job")],
            _status(_POD_DONE),
        ),
        _stage("pod-deleted", "Pod", [(_DELETED, "Exists")], {"delete": True}),
    ]


def _node(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": _MARK,
            "labels": _LABELS | {"kubernetes.io/hostname": name},
        },
        "status": {"allocatable": _ROOM, "capacity": _ROOM},
    }


def _stage(
    name: str, kind: str, when: list[tuple[str, ...]], then: dict[str, Any]
) -> dict[str, Any]:
    matches = [
        {"key": key, "operator": operator, **({"values": values} if values else {})}
        for key, operator, *values in when
    ]
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": matches},
            "next": then,
        },
    }


def _status(template: str) -> dict[str, Any]:
    return {"statusTemplate": _NOW + template}


def _text(stage: dict[str, Any]) -> str:
    return msgspec.json.encode(stage).decode()
