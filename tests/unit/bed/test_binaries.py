"""Where programs come from: a wrong folder is told in one line, and no build is begun for it."""

from pathlib import Path

import pytest

from tests.bed import golang
from tests.bed.binaries import NAMED_BY, binaries
from tests.bed.errors import Unavailable
from tests.bed.versions import PROGRAMS


def silent(_: str) -> None:
    pass


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("")
        (folder / name).chmod(0o755)


def test_a_named_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "etcd", "kubectl")
    monkeypatch.setenv(NAMED_BY, str(tmp_path))
    assert binaries(["etcd", "kubectl"], silent) == tmp_path


def test_a_named_folder_must_have_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "etcd")
    monkeypatch.setenv(NAMED_BY, str(tmp_path))
    with pytest.raises(Unavailable, match="lacks kubectl"):
        binaries(["etcd", "kubectl"], silent)


def test_without_go_the_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NAMED_BY, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=f"install Go .* or name a folder .* {NAMED_BY}"):
        binaries(["etcd"], silent)


def test_what_is_built_is_pinned(tmp_path: Path) -> None:
    etcd = golang.command("go", PROGRAMS["etcd"], tmp_path)
    assert "-mod=readonly" in etcd
    assert etcd[-1] == "go.etcd.io/etcd/server/v3"
    helm = golang.command("go", PROGRAMS["helm"], tmp_path)
    assert helm[-1] == f"helm.sh/helm/v4/cmd/helm@{PROGRAMS['helm'].version}"
