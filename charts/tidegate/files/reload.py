"""Runs a command, and again whenever Python files change in a folder. For development only.

`development.reload` mounts this into the pods of services. The folder first gets a copy of the
installed package, which then stands before it on Python's path; what Skaffold copies over it is at
work a second later, without a new image. It outlives this process and goes with its pod.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

FOLDER = Path("/src")
PACKAGE = "tidegate"
LOOK_SECONDS = 0.5
# A service that drains for longer is not waited for: its developer waits already.
END_SECONDS = 10.0


def copy_package(folder: Path, package: str) -> None:
    """Copies the installed package into the folder, unless it is there from an earlier start."""
    found = importlib.util.find_spec(package)
    target = folder / package
    if found is None or found.origin is None:
        raise SystemExit(f"the package {package} is not installed")
    if not target.exists():
        shutil.copytree(Path(found.origin).parent, target)


def state_of(folder: Path) -> dict[str, int]:
    """What changes whenever one of the folder's Python files does."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.py")}


def start(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Starts the command with the folder first on Python's path."""
    environment = dict(os.environ)  # noqa: TID251  Passed on as it is.
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{folder}:{path}" if path else str(folder)
    return subprocess.Popen(list(command), env=environment)


def end(child: subprocess.Popen[bytes]) -> None:
    """Ends the child, gently at first."""
    child.terminate()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def run(command: Sequence[str], folder: Path) -> NoReturn:
    """Runs the command until SIGTERM; one that fails is started again with the next change."""
    seen = state_of(folder)
    child = start(command, folder)

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        child.terminate()
        sys.exit(child.wait())

    signal.signal(signal.SIGTERM, stop)
    while True:
        time.sleep(LOOK_SECONDS)
        now = state_of(folder)
        if now != seen:
            seen = now
            sys.stderr.write("files have changed, starting again\n")
            end(child)
            child = start(command, folder)


if __name__ == "__main__":
    copy_package(FOLDER, PACKAGE)
    run(sys.argv[1:], FOLDER)
