"""Ending a bed by what its folder and its slot say alone: nobody has to remember anything.

Everything is killed: nothing of a bed is worth a farewell, and the API server takes a minute for
its own. Each step finds what is there and may be repeated, for whoever cleans may die as well.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Final

from tests.bed import cgroups, mounts, network, processes, traces

_CGROUP: Final = "tidegate-bed-{}"


def cgroup_of(slot: int) -> str:
    """The control group of a node's pods."""
    return _CGROUP.format(slot)


def clean(folder: Path, slot: int | None) -> None:
    """End the bed in `folder`. `slot` is that of a node; None has no node, only processes."""
    if slot is None:
        processes.end(lambda: processes.of_bed(folder))
    else:
        group = cgroup_of(slot)
        processes.end(lambda: {*processes.of_bed(folder), *cgroups.pids(group)})
        traces.remove(folder)
        mounts.unmount(folder)
        network.remove(network.Network(slot))
        cgroups.remove(group)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
