"""Image archives (`docker save`'s format) of one layer: what a registry would bring, as a file.

https://github.com/moby/docker-image-spec/blob/main/spec.md
"""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_EPOCH = "1970-01-01T00:00:00Z"


def architecture() -> str:
    """This machine's, as images call it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def write(target: Path, layer: Path, reference: str, config: dict[str, Any]) -> None:
    """The archive of an image with the files of `layer` (a tar), called `reference`.

    `config` is what a container is started with: Entrypoint, Env, User. In place only once it is
    whole.
    """
    digest = _sha256(layer)
    described = json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "created": _EPOCH,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": _EPOCH, "created_by": "tests.bed"}],
        }
    ).encode()
    name = f"{hashlib.sha256(described).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    new = target.with_suffix(".new")
    with tarfile.open(new, "w") as archive:
        _add(archive, name, described)
        _add(archive, "manifest.json", json.dumps(manifest).encode())
        archive.add(layer, "layer.tar", recursive=False)
    new.replace(target)


def write_program(target: Path, program: Path, reference: str) -> None:
    """An image of a static program alone, which is its entry point."""
    layer = target.with_suffix(".layer")
    with tarfile.open(layer, "w") as files:
        _add(files, program.name, program.read_bytes(), mode=0o755)
    write(target, layer, reference, {"Entrypoint": [f"/{program.name}"]})
    layer.unlink()


def reference_in(archive: Path) -> str:
    """What an archive calls its image."""
    with tarfile.open(archive) as files:
        member = files.extractfile("manifest.json")
        assert member is not None
        manifest = json.load(member)
    return str(manifest[0]["RepoTags"][0])


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    archive.addfile(entry, io.BytesIO(content))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
