"""What a person would look at first when a test in a cluster has failed."""

from tests.bed.cluster import Cluster
from tests.bed.commands import run
from tests.bed.errors import CommandError

_LINES = 25
_SECONDS = 10.0


def diagnosis(cluster: Cluster, namespace: str) -> str:
    """Pods, events, and the last lines of each container's log, in a namespace."""
    parts = [
        _said(cluster, "get", "pods", "--output=wide", "--namespace", namespace),
        _said(
            cluster,
            *("get", "events", "--sort-by=.lastTimestamp", "--namespace", namespace),
        ),
    ]
    names = _said(cluster, "get", "pods", "--output=name", "--namespace", namespace)
    for pod in names.split():
        if not pod.startswith("pod/"):
            continue
        options = ("--all-containers", "--prefix", f"--tail={_LINES}", "--namespace", namespace)
        parts.append(f"{pod}:\n{_said(cluster, 'logs', pod, *options)}")
    return "\n".join(parts)


def _said(cluster: Cluster, *arguments: str) -> str:
    command = [str(cluster.binaries / "kubectl"), "--request-timeout=5s", *arguments]
    try:
        return run(command, env=cluster.env, timeout=_SECONDS)
    except CommandError as error:
        return str(error)
