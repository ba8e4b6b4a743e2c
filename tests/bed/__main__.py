"""A Kubernetes of your own on this machine: python -m tests.bed up|down|status|exec

up      starts a node with the project's image on it, and prints how to use it; it stays until
        `down`. Programs and images that are missing are built first, once.
down    ends everything that `up` started, and what a test run that was killed has left.
status  says what runs.
exec    runs a command with kubectl, helm and the kubeconfig at hand: exec kubectl get pods -A
"""

import argparse
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from tests.bed import control_plane, images, node, processes, state
from tests.bed.binaries import binaries
from tests.bed.cluster import Cluster
from tests.bed.errors import BedError, Unavailable
from tests.bed.progress import Say, progress
from tests.bed.versions import CONTROL_PLANE, NODE

_INTERRUPTED: Final = 130


def main() -> int:
    """The exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    chosen = _parse()
    try:
        return int(chosen.run(chosen))
    except BedError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED


def _up(chosen: argparse.Namespace) -> int:
    say = progress()
    kind = control_plane.KIND if chosen.control_plane else node.KIND
    if not chosen.control_plane:
        node.require()
    programs = binaries(CONTROL_PLANE if chosen.control_plane else NODE, say)
    wanted = chosen.image and not chosen.control_plane
    reference = images.build_image(say) if wanted else None
    folder = _running(kind)
    if folder is None:
        folder = _start(kind, programs, reference, say)
    else:
        say("it is up already")
        _load(folder, reference, say)
    _hint(folder, reference)
    return 0


def _running(kind: str) -> Path | None:
    """The bed of a former `up`, unless it no longer answers: then that is ended."""
    state.sweep()
    folder = state.kept(kind)
    if folder is not None and not _answers(folder):
        state.release(folder)
        return None
    return folder


def _start(kind: str, programs: Path, reference: str | None, say: Say) -> Path:
    say("starting")
    if kind == control_plane.KIND:
        folder, _ = control_plane.up(programs)
    else:
        folder, _ = node.up(programs, [images.pause_image(programs)], say)
    try:
        _load(folder, reference, say)
    except BaseException:
        state.release(folder)
        raise
    state.keep(folder)
    return folder


def _load(folder: Path, reference: str | None, say: Say) -> None:
    if reference is not None:
        say(f"loading {reference}")
        images.load(folder, images.archive_of(reference))


def _down(_: argparse.Namespace) -> int:
    say = progress()
    for folder, record in state.beds():
        if record is None or record.owner is None or not record.owner.lives:
            say(f"ending {folder.name}")
            state.release(folder)
        else:
            say(f"{folder.name} is of a test run that goes on (pid {record.owner.pid})")
    say("done")
    return 0


def _status(_: argparse.Namespace) -> int:
    found = state.beds()
    if not found:
        print("nothing runs: python -m tests.bed up")
    for folder, record in found:
        owner = record.owner if record else None
        whose = "stays until `down`" if owner is None else f"of the process {owner.pid}"
        answers = "answers" if _answers(folder) else "does not answer"
        print(f"{folder.name}: {whose}, {answers}, {folder / 'kubeconfig'}")
        for path in sorted((folder / "pids").glob("*")):
            pid = processes.pid_of(folder, path.name)
            print(f"  {path.name:12} {'ended' if pid is None else pid}")
    return 0 if any(_answers(folder) for folder, _ in found) else 1


def _exec(chosen: argparse.Namespace) -> int:
    folder = state.kept(node.KIND) or state.kept(control_plane.KIND)
    if folder is None:
        raise Unavailable("nothing runs: python -m tests.bed up")
    cluster = Cluster(folder / "kubeconfig", _programs(folder))
    command = chosen.command[1:] if chosen.command[:1] == ["--"] else chosen.command
    if not command:
        raise Unavailable("exec needs a command: exec kubectl get pods -A")
    return subprocess.run(command, env=cluster.env, check=False).returncode


def _answers(folder: Path) -> bool:
    kubeconfig = folder / "kubeconfig"
    if not kubeconfig.exists():
        return False
    asked = ("get", "--raw", "/readyz", "--request-timeout=3s")
    command = [str(_programs(folder) / "kubectl"), "--kubeconfig", str(kubeconfig), *asked]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _programs(folder: Path) -> Path:
    """Where the bed's programs are: a newer checkout may build others meanwhile."""
    return (folder / control_plane.PROGRAMS).resolve()


def _hint(folder: Path, reference: str | None) -> None:
    kubeconfig = folder / "kubeconfig"
    image = []
    if reference is not None:
        registry, tag = reference.partition("/")[0], reference.rpartition(":")[2]
        image = [f"image: {reference} (image.registry={registry},image.tag={tag})"]
    lines = [
        *(str(kubeconfig), *image, "To use it in this shell:"),
        f"  export KUBECONFIG={shlex.quote(str(kubeconfig))}",
        f'  export PATH={shlex.quote(str(_programs(folder)))}:"$PATH"',
        "To end it: make cluster-down",
    ]
    print("\n".join(lines))


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    up = commands.add_parser("up", help="start it")
    up.add_argument("--control-plane", action="store_true", help="without a node: no root needed")
    up.add_argument(
        "--image",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="build the project's image and load it into the node",
    )
    up.set_defaults(run=_up)
    commands.add_parser("down", help="end it").set_defaults(run=_down)
    commands.add_parser("status", help="say what runs").set_defaults(run=_status)
    execute = commands.add_parser("exec", help="run a command in it")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    execute.set_defaults(run=_exec)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
