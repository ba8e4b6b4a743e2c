"""The programs of a bed, each by its version: a bed of today is the one of tomorrow."""

import hashlib
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KUBERNETES: Final = "v1.36.3"
ETCD: Final = "v3.7.3"
COREDNS: Final = "v1.14.7"
KWOK: Final = "v0.8.0"
HELM: Final = "v4.3.1"


@dataclass(frozen=True, slots=True)
class Program:
    """One program and how Go makes it.

    `module` names a folder below `modules`, whose go.mod and go.sum pin everything that is linked
    in; "" means that the package itself is installable, at `version`. `stamps` are the variables
    that a release build sets: without them a program believes that it is v0.0.0.
    """

    name: str
    package: str
    version: str
    module: str = ""
    stamps: tuple[tuple[str, str], ...] = ()


def _kubernetes(name: str) -> Program:
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = (
        ("gitVersion", KUBERNETES),
        ("gitMajor", major),
        ("gitMinor", minor),
        ("gitTreeState", "clean"),
    )
    homes = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return Program(
        name,
        f"k8s.io/kubernetes/cmd/{name}",
        KUBERNETES,
        module="kubernetes",
        stamps=tuple((f"{home}.{key}", value) for home in homes for key, value in values),
    )


PROGRAMS: Final = {
    program.name: program
    for program in (
        Program("pause", "tidegate.test/bed/pause", "v1", module="pause"),
        Program("etcd", "go.etcd.io/etcd/server/v3", ETCD, module="etcd"),
        _kubernetes("kubectl"),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        Program("coredns", "github.com/coredns/coredns", COREDNS, module="coredns"),
        Program(
            "helm",
            "helm.sh/helm/v4/cmd/helm",
            HELM,
            stamps=(("helm.sh/helm/v4/internal/version.version", HELM),),
        ),
        Program(
            "kwok",
            "sigs.k8s.io/kwok/cmd/kwok",
            KWOK,
            stamps=(("sigs.k8s.io/kwok/pkg/consts.Version", KWOK),),
        ),
    )
}

CLIENTS: Final = ("kubectl", "helm")
CONTROL_PLANE: Final = (
    *("etcd", "kubectl", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("helm", "kwok"),
)
NODE: Final = (*CONTROL_PLANE, "pause", "kubelet", "kube-proxy", "coredns")


def in_order(names: Iterable[str]) -> list[Program]:
    """Programs by their names, in the order in which they are built: the quick ones first."""
    wanted = set(names)
    return [program for name, program in PROGRAMS.items() if name in wanted]


def key(modules: Path) -> str:
    """Says what the programs are made of; another version of anything gives another key."""
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()}\n".encode())
    for program in PROGRAMS.values():
        digest.update(f"{program}\n".encode())
    for path in sorted(path for path in modules.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(modules).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
