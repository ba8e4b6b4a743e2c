"""A power cut in the middle of a write: the cache comes up all the same, and keeps the rest."""

from pathlib import Path

import pytest

from tidegate.cache.stores.folder import Folder
from tidegate.cache.stores.shards import FINISHED


def folder_with(directory: Path, finished: bytes | None) -> Folder:
    """A settled part made of a head, with what its `finished` holds, and a later head."""
    for name in ("head-000001", "settled-000002", "head-000003"):
        (directory / "cache" / name).mkdir(parents=True)
    if finished is not None:
        (directory / "cache" / "settled-000002" / FINISHED).write_bytes(finished)
    return Folder(directory, "cache")


@pytest.mark.parametrize("torn", [b"", b"\xff\xfe", b"\0" * 11, b"head-", b"head-000001\n\xff"])
def test_a_part_that_may_be_torn_is_set_aside_and_its_sources_stay(
    tmp_path: Path, torn: bytes
) -> None:
    folder = folder_with(tmp_path, torn)
    folder.tidy()
    assert folder.parts() == ["head-000001", "head-000003"]
    (aside,) = tmp_path.glob("cache.settled-000002.set-aside-*")
    assert (aside / FINISHED).read_bytes() == torn
    folder.tidy()


def test_a_part_that_never_stood_for_its_sources_is_removed(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, None)
    folder.tidy()
    assert folder.parts() == ["head-000001", "head-000003"]
    assert list(tmp_path.glob("*set-aside*")) == []


def test_a_whole_part_takes_the_place_of_its_sources(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, b"head-000001\n")
    folder.tidy()
    assert folder.parts() == ["settled-000002", "head-000003"]
