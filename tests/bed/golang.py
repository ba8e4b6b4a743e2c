"""Building one program with the machine's Go.

Where Go gets modules from (GOPROXY, GOFLAGS, a toolchain of its own) is the machine's business and
taken from it as it is; what it gets is checked against the go.sum here, or the checksum database.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bed.errors import BuildFailed, Unavailable
from tests.bed.progress import Say, last_lines
from tests.bed.versions import Program

_PATIENT_SECONDS: Final = 20.0


def build(program: Program, folder: Path, modules: Path, say: Say) -> None:
    """Make `folder/<name>`, in place only once it is whole. Raises BuildFailed with Go's words."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable("the Go compiler is missing: install Go 1.26 or newer")
    with _scratch(folder) as scratch:
        module = modules / program.module if program.module else scratch
        said = scratch / "said"
        environ = os.environ | {"CGO_ENABLED": "0", "GOBIN": str(scratch), "GOWORK": "off"}
        with said.open("wb") as output:
            process = subprocess.Popen(
                command(go, program, scratch),
                cwd=module,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        status = _wait(process, program.name, say)
        if status:
            raise BuildFailed(
                f"Go could not build {program.name}: {last_lines(said.read_text('utf-8'))}"
            )
        (scratch / program.name).replace(folder / program.name)


def command(go: str, program: Program, target: Path) -> list[str]:
    """What Go is told; the binary is `target/<name>` then."""
    stamps = [f"-X {variable}={value}" for variable, value in program.stamps]
    options = ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s", "-w", *stamps])]
    if program.module:
        output = str(target / program.name)
        return [go, "build", *options, "-mod=readonly", "-o", output, program.package]
    return [go, "install", *options, f"{program.package}@{program.version}"]


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder beside the programs; the caller has the lock, so one that is there is nobody's."""
    path = folder / ".building"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], name: str, say: Say) -> int:
    """Wait, with a sign of life now and then; an interrupted build is ended."""
    began = time.monotonic()
    try:
        while True:
            try:
                return process.wait(timeout=_PATIENT_SECONDS)
            except subprocess.TimeoutExpired:
                say(f"  {name}: {time.monotonic() - began:.0f} s and building")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
