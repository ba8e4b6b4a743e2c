"""The installation's own pool: what is in the file, and what people made of it since."""

from pathlib import Path
from typing import Any, cast

import pytest

from tidegate.chassis.kubernetes_api import ApiServerError, ConflictError, KubernetesApi
from tidegate.chassis.settings import SettingsError
from tidegate_operator.default_pool import DefaultPool, load_object, try_to_ensure

POOL = {"metadata": {"name": "chat"}, "spec": {"queue": "chat"}}
OWNER = {"metadata": {"name": "chart", "uid": "u1"}}


class Api:
    """An API server with this ConfigMap, which answers an apply so."""

    namespace = "ns"

    def __init__(self, owner: Any = OWNER, refusal: Exception | None = None) -> None:
        self.applied: list[tuple[str, Any, bool]] = []
        self._owner = owner
        self._refusal = refusal

    async def get(self, path: str) -> Any:
        assert path == "/api/v1/namespaces/ns/configmaps/chart"
        return self._owner

    async def apply(self, path: str, body: Any, *, manager: str, force: bool) -> Any:
        self.applied.append((path, body, force))
        if self._refusal is not None:
            raise self._refusal
        return body


def pool(api: Api, owner: str | None = "chart") -> DefaultPool:
    return DefaultPool(cast(KubernetesApi, api), POOL, owner)


async def test_it_belongs_to_the_charts_object_and_takes_nothing_from_people() -> None:
    api = Api()
    await pool(api).ensure()
    ((path, body, force),) = api.applied
    assert path == "/apis/tidegate.dev/v1alpha1/namespaces/ns/workerpools/chat"
    assert [each["uid"] for each in body["metadata"]["ownerReferences"]] == ["u1"]
    assert (body["kind"], body["spec"], force) == ("WorkerPool", POOL["spec"], False)


async def test_after_an_uninstall_it_is_not_made_again() -> None:
    api = Api(owner=None)
    await pool(api).ensure()
    assert api.applied == []


async def test_without_an_owner_it_is_nobodys() -> None:
    api = Api(owner=None)
    await pool(api, None).ensure()
    assert api.applied[0][1]["metadata"]["ownerReferences"] == []


async def test_what_people_changed_is_no_fault() -> None:
    assert await try_to_ensure(pool(Api(refusal=ConflictError("kubectl has it", 409))))


async def test_a_refusal_stops_nobody() -> None:
    assert not await try_to_ensure(pool(Api(refusal=ApiServerError("no", 403))))


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00"])
def test_a_file_without_an_object_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"^TIDEGATE_POOL: .*pool\.yaml"):
        load_object(path, "TIDEGATE_POOL")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml cannot be read"):
        load_object(tmp_path / "nowhere.yaml", "TIDEGATE_POOL")


@pytest.mark.parametrize("text", ['{"a": 1}', "a: 1\n"])
def test_a_file_is_json_or_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pool"
    path.write_text(text)
    assert load_object(path, "X") == {"a": 1}
