"""What is found of a bed on a machine: mounts, control groups, owners; and nothing of others."""

import os
from pathlib import Path

import msgspec
import pytest

from tests.bed import cgroups, mounts, state, traces
from tests.bed.state import Owner

MOUNTS = """\
/dev/vda / ext4 rw 0 0
nsfs /tmp/beds/node-0/network nsfs rw 0 0
tmpfs /tmp/beds/node-0/kubelet/pods/1/volumes/a\\040b tmpfs rw 0 0
overlay /tmp/beds/node-0/run/1/rootfs overlay rw 0 0
overlay /tmp/beds/node-0/run/1/rootfs overlay rw 0 0
tmpfs /tmp/beds/node-01 tmpfs rw 0 0
"""


def test_mounts_go_from_the_depth_up_and_no_neighbour_with_them() -> None:
    assert mounts.below(Path("/tmp/beds/node-0"), MOUNTS) == [
        "/tmp/beds/node-0/kubelet/pods/1/volumes/a b",
        "/tmp/beds/node-0/run/1/rootfs",
        "/tmp/beds/node-0/run/1/rootfs",
        "/tmp/beds/node-0/network",
    ]


def hierarchy(root: Path, *groups: str) -> None:
    for group in groups:
        (root / group).mkdir(parents=True, exist_ok=True)
        (root / group / "cgroup.procs").write_text("")


def test_pods_are_found_in_every_hierarchy(tmp_path: Path) -> None:
    hierarchy(tmp_path, "memory", "memory/bed/pod1", "cpu", "cpu/bed", "cpu/bed/pod2", "cpu/other")
    (tmp_path / "memory/bed/pod1/cgroup.procs").write_text("11\n12\n")
    (tmp_path / "cpu/bed/pod2/cgroup.procs").write_text("12\n0\n")
    (tmp_path / "cpu/other/cgroup.procs").write_text("13\n")
    assert not cgroups.is_v2(tmp_path)
    assert cgroups.pids("bed", tmp_path) == {11, 12}


def test_a_process_that_is_another_owns_nothing() -> None:
    current = Owner.current()
    assert current.lives
    assert not Owner(current.pid, current.started - 1).lives
    assert not Owner(2**22 + 1, 1).lives


def test_a_place_is_given_once_and_again_after_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "state", lambda: tmp_path)
    first, slot = state.claim("control", range(2))
    second, other = state.claim("control", range(2))
    assert (slot, other) == (0, 1)
    state.keep(second)
    assert state.kept("control") == second
    assert state.kept("node") is None
    gone = state.Record("control", 0, Owner(2**22 + 1, 1))
    (first / "bed.json").write_bytes(msgspec.json.encode(gone))
    again, slot = state.claim("control", range(2))
    assert (again, slot) == (first, 0)
    state.release(second)
    assert [folder for folder, _ in state.beds()] == [first]
    assert state.read(first) == state.Record("control", 0, Owner.current())


def test_the_machine_is_noted_once_for_beds_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings"
    (settings / "kernel").mkdir(parents=True)
    (settings / "kernel/panic").write_text("1")
    monkeypatch.setattr(traces, "_SETTINGS_ROOT", settings)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        traces.note(tmp_path / name)
        (settings / "kernel/panic").write_text("10")  # as a kubelet does
    traces.remove(tmp_path / "b")
    assert (settings / "kernel/panic").read_text() == "1"
    assert os.listdir(tmp_path / "a") == ["machine.json"]
