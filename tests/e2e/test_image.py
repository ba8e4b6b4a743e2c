"""What is in the image, and what must not be: read from its own layers, without running it."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.bed import fixtures, images
from tests.bed.progress import progress

_TRACES = re.compile(r"(^|/)(run/secrets/.|pip\.conf$|\.pip/|\.netrc$|root/\.cache/)")
_COMPILERS = re.compile(r"(^|/)bin/(gcc|g\+\+|cc|clang|cargo|rustc|go)$")
_NEEDED = ("/nats-server", "/model.onnx", "/tidegate/cli/main.py", "/tidegate_operator/__init__.py")


class _Image:
    """A docker archive: its configuration, and the names of the files in all layers."""

    def __init__(self, archive: Path) -> None:
        with tarfile.open(archive) as outer:
            (manifest,) = json.loads(self._read(outer, "manifest.json"))
            self.config: dict[str, Any] = json.loads(self._read(outer, manifest["Config"]))
            self.names: list[str] = []
            for layer in manifest["Layers"]:
                with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
                    self.names += inner.getnames()

    @staticmethod
    def _read(outer: tarfile.TarFile, name: str) -> bytes:
        file = outer.extractfile(name)
        assert file is not None
        return file.read()


@pytest.fixture(scope="module")
def inside() -> _Image:
    reference = fixtures.or_skip(lambda: images.build_image(progress()))
    return _Image(images.archive_of(reference))


@pytest.mark.timeout(600)
def test_it_has_what_every_service_needs_and_nothing_to_build_with(inside: _Image) -> None:
    for needed in _NEEDED:
        assert any(name.endswith(needed) for name in inside.names), needed
    assert not [name for name in inside.names if _COMPILERS.search(name)]
    assert not [name for name in inside.names if name.startswith("opt/build")]


def test_it_is_not_root_by_number(inside: _Image) -> None:
    """A name would not do: Kubernetes cannot tell that it is not root's."""
    assert inside.config["config"]["User"] == "10001:10001"


def test_the_builders_index_proxy_and_certificates_leave_no_trace(inside: _Image) -> None:
    environment = " ".join(inside.config["config"]["Env"]).lower()
    assert not re.search(r"pip_|proxy|cert|index", environment)
    history = json.dumps(inside.config["history"]).lower()
    assert not re.search(r"https?://|_proxy|cert", history)
    assert not [name for name in inside.names if _TRACES.search(name)]
