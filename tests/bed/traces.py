"""What a node's programs leave outside its folder, as they know no setting for it.

kernel settings    the kubelet sets some for the whole machine: noted before, and set back
sockets            of containerd's shims in /run/containerd, of the kubelet in /var/lib/kubelet
links              to the logs of containers, in /var/log/containers
results            of CNI plugins, in /var/lib/cni
folders            of all these, if they were not there before
"""

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

_NOTE: Final = "machine.json"
_SETTINGS: Final = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
_SETTINGS_ROOT: Final = Path("/proc/sys")
_SOCKETS: Final = Path("/run/containerd/s")
_LINKS: Final = Path("/var/log/containers")
_RESULTS: Final = Path("/var/lib/cni/results")
_DEVICES: Final = Path("/var/lib/kubelet/device-plugins")
_FOLDERS: Final = (_SOCKETS, _LINKS, _RESULTS, _DEVICES)


class Note(msgspec.Struct, frozen=True):
    """How a machine is: the settings by their names, and which folders it does not have."""

    settings: dict[str, str]
    absent: list[str]


def note(folder: Path) -> None:
    """Write down how the machine is, before a node starts; as another bed found it, if there is."""
    for other in folder.parent.glob(f"*/{_NOTE}"):
        shutil.copy(other, folder / _NOTE)
        return
    settings = {name: _value(name) for name in _SETTINGS if (_SETTINGS_ROOT / name).exists()}
    folders = [each for path in _FOLDERS for each in (path, *path.parents)]
    absent = [str(each) for each in folders if not each.exists()]
    (folder / _NOTE).write_bytes(msgspec.json.encode(Note(settings, absent)))


def remove(folder: Path) -> None:
    """Make the machine as it was. Before the folder's mounts and files go, for it reads them."""
    noted = _noted(folder)
    for name, value in noted.settings.items():
        with contextlib.suppress(OSError):
            (_SETTINGS_ROOT / name).write_text(value, encoding="utf-8")
    for task in folder.glob("run/io.containerd.runtime.v2.task/*/*"):
        with contextlib.suppress(OSError):
            address = (task / "address").read_text("utf-8")
            _unlink([Path(address.removeprefix("unix://"))])
        _unlink(_RESULTS.glob(f"*-{task.name}-*"))
    if _LINKS.is_dir():
        logs = f"{folder}/"
        _unlink(link for link in _LINKS.iterdir() if str(_target(link)).startswith(logs))
    if str(_DEVICES) in noted.absent:
        _unlink(_DEVICES.glob("kubelet*"))
    for absent in sorted(noted.absent, key=len, reverse=True):
        with contextlib.suppress(OSError):  # of another bed's, or of somebody else's
            Path(absent).rmdir()


def _noted(folder: Path) -> Note:
    with contextlib.suppress(FileNotFoundError):
        return msgspec.json.decode((folder / _NOTE).read_bytes(), type=Note)
    return Note({}, [])


def _value(name: str) -> str:
    return (_SETTINGS_ROOT / name).read_text("utf-8").strip()


def _target(link: Path) -> Path | None:
    with contextlib.suppress(OSError):
        return link.readlink()
    return None


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
