"""The processes of a bed: started with a mark, found again by it, ended by their own pid.

Every process gets the bed's folder in its environment, and whatever it starts inherits that. The
kernel shows the environment that a process was started with, so a pid that now belongs to
somebody else is never taken for ours, and a process whose pid nobody wrote down is found as well.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.bed.errors import StartFailed
from tests.bed.progress import last_lines

MARK: Final = "TIDEGATE_BED_FOLDER"
_GONE_WITHIN: Final = 20.0
_KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR")


class Processes:
    """What runs for the bed in `folder`. `prefix` comes before each command: nsenter, for example.

    The log of a process is `logs/<name>.log`, its pid `pids/<name>`.
    """

    def __init__(self, folder: Path, prefix: Sequence[str] = ()) -> None:
        self.folder = folder
        self._prefix = list(prefix)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[str | Path, ...]] = {}
        for name in ("logs", "pids"):
            (folder / name).mkdir(exist_ok=True)

    def start(self, name: str, *command: str | Path) -> None:
        """Start it in a session of its own, so that a Ctrl-C of the terminal does not end it."""
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                [*self._prefix, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=kept | {MARK: str(self.folder)},
                start_new_session=True,
            )
        (self.folder / "pids" / name).write_text(str(child.pid), encoding="utf-8")
        self._children[name] = child
        self._commands[name] = command

    def restart(self, name: str) -> None:
        """kill -9, and the same command again."""
        self._children[name].kill()
        self._children[name].wait()
        self.start(name, *self._commands[name])

    def runs(self, name: str) -> bool:
        """Whether this object started it and it has not ended."""
        return name in self._children and self._children[name].poll() is None

    def log(self, name: str) -> Path:
        """Where its output goes."""
        return self.folder / "logs" / f"{name}.log"

    def check(self) -> None:
        """Raises StartFailed with the last lines of a process that has ended."""
        for name, child in self._children.items():
            if child.poll() is not None:
                said = self.log(name).read_text("utf-8", errors="replace")
                raise StartFailed(f"{name} ended with {child.returncode}:\n{last_lines(said)}")

    def until(self, ready: Callable[[], bool], what: str, within: float = 60.0) -> None:
        """Poll. Raises StartFailed if a process ends meanwhile or the seconds have passed."""
        deadline = time.monotonic() + within
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise StartFailed(f"{what}: not within {within:.0f} s; see {self.folder / 'logs'}")
            time.sleep(0.05)

    def reap(self) -> None:
        """Collect those that have been ended: nothing is left of them then."""
        for child in self._children.values():
            child.wait()


def of_bed(folder: Path) -> list[int]:
    """The pids of all processes that carry the mark of the bed in `folder`."""
    mark = f"{MARK}={folder}".encode()
    return [pid for pid in _pids() if mark in _environment(pid)]


def pid_of(folder: Path, name: str) -> int | None:
    """The pid that was written down for `name`, if that is still a process of the bed's."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / "pids" / name).read_text("utf-8"))
        if f"{MARK}={folder}".encode() in _environment(pid):
            return pid
    return None


def end(find: Callable[[], Iterable[int]]) -> None:
    """kill -9 for all that `find` returns, until it finds no more.

    Again and again, for one of them may start another meanwhile. Raises StartFailed for those that
    do not go.
    """
    deadline = time.monotonic() + _GONE_WITHIN
    while pids := list(find()):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise StartFailed(f"these processes do not end: {pids}")
        time.sleep(0.02)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environment(pid: int) -> list[bytes]:
    """What it was started with; nothing for a zombie, and for what belongs to another user."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
