"""Whose an object of the pool's name is: what is somebody else's must never be written over."""

from typing import Any

import pytest

from tidegate_operator.applying import _is_own

MANIFEST = {"metadata": {"name": "chat", "ownerReferences": [{"uid": "u", "controller": True}]}}


def found(*, owner: str | None = None, pool: str | None = None) -> dict[str, Any]:
    owners = [] if owner is None else [{"uid": owner, "controller": True}]
    labels = {} if pool is None else {"tidegate.dev/pool": pool}
    return {"metadata": {"name": "chat", "ownerReferences": owners, "labels": labels}}


@pytest.mark.parametrize("own", [found(owner="u"), found(owner="u", pool="chat")])
def test_what_the_pool_owns_is_its_own(own: dict[str, Any]) -> None:
    assert _is_own(own, MANIFEST)


def test_what_a_pool_of_the_name_left_behind_is_taken_over() -> None:
    assert _is_own(found(pool="chat"), MANIFEST)


@pytest.mark.parametrize(
    "other", [found(), found(pool="code"), found(owner="x"), found(owner="x", pool="chat")]
)
def test_what_anybody_else_made_is_not(other: dict[str, Any]) -> None:
    assert not _is_own(other, MANIFEST)
