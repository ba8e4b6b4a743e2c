"""Which programs a bed is made of: a change of any of them must not run the old ones."""

import re
from pathlib import Path

from tests.bed.places import MODULES
from tests.bed.versions import (
    CONTROL_PLANE,
    COREDNS,
    ETCD,
    KUBERNETES,
    NODE,
    PROGRAMS,
    in_order,
    key,
)


def required_by(module: str) -> str:
    return (MODULES / module / "go.mod").read_text("utf-8")


def test_the_modules_pin_the_versions_that_are_said() -> None:
    assert f"k8s.io/kubernetes {KUBERNETES}" in required_by("kubernetes")
    assert f"go.etcd.io/etcd/server/v3 {ETCD}" in required_by("etcd")
    assert f"github.com/coredns/coredns {COREDNS}" in required_by("coredns")


def test_every_part_of_kubernetes_is_of_its_release() -> None:
    _, minor, patch = KUBERNETES.removeprefix("v").split(".")
    replaced = re.findall(r"^\t(\S+) => (\S+) (\S+)$", required_by("kubernetes"), re.MULTILINE)
    assert len(replaced) > 30
    assert {(old == new, version) for old, new, version in replaced} == {
        (True, f"v0.{minor}.{patch}")
    }


def test_every_program_in_a_module_is_a_tool_of_it() -> None:
    for program in PROGRAMS.values():
        if program.module and program.module != "pause":
            assert program.package in required_by(program.module)


def test_a_kubernetes_knows_its_version() -> None:
    stamps = dict(PROGRAMS["kube-apiserver"].stamps)
    assert stamps["k8s.io/component-base/version.gitVersion"] == KUBERNETES
    assert stamps["k8s.io/client-go/pkg/version.gitMinor"] == KUBERNETES.split(".")[1]


def test_a_node_has_all_that_a_control_plane_has() -> None:
    assert set(CONTROL_PLANE) < set(NODE) == set(PROGRAMS)
    assert [program.name for program in in_order(["kubelet", "etcd"])] == ["etcd", "kubelet"]


def test_another_module_has_another_key(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module a")
    first = key(tmp_path)
    assert key(tmp_path) == first
    (tmp_path / "go.sum").write_text("")
    assert key(tmp_path) != first
