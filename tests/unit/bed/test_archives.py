"""Archives of images, as containerd and buildah take them."""

import hashlib
import json
import tarfile
from pathlib import Path

from tests.bed import archives


def test_an_archive_holds_what_its_manifest_says(tmp_path: Path) -> None:
    program, target = tmp_path / "pause", tmp_path / "image.tar"
    program.write_bytes(b"program")
    archives.write_program(target, program, "localhost/pause:1")

    assert archives.reference_in(target) == "localhost/pause:1"
    with tarfile.open(target) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        contents = {name: file.read() for name, file in files.items() if file is not None}
    (manifest,) = json.loads(contents["manifest.json"])
    config = json.loads(contents[manifest["Config"]])
    layer = contents[manifest["Layers"][0]]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert config["config"] == {"Entrypoint": ["/pause"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tar", "pause"]
