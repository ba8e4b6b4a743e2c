"""The installation's own pools: what is in the file, and what people made of them since."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from tidegate.chassis.kubernetes_api import ApiServerError, ConflictError, KubernetesApi
from tidegate.chassis.settings import SettingsError
from tidegate_operator.default_pool import DefaultPools, load_object, load_pools, without

CHAT: dict[str, Any] = {"metadata": {"name": "chat"}, "spec": {"queue": "chat"}}
SLOW: dict[str, Any] = {"metadata": {"name": "slow"}, "spec": {"queue": "slow"}}
OWNER = {"metadata": {"name": "chart", "uid": "u1"}}
POOLS = "/apis/tidegate.dev/v1alpha1/namespaces/ns/workerpools"


class Api:
    """An API server with this ConfigMap and these pools, which answers an apply so.

    `there` has the versions of pools; `refusals` is what pools are refused with, each once but for
    the last.
    """

    namespace = "ns"

    def __init__(self, owner: Any = OWNER, **refusals: list[Exception]) -> None:
        self.applied: list[tuple[str, Any, bool]] = []
        self.there: dict[str, int] = {}
        self.on_get: Callable[[str], object] = lambda _: None
        self._owner = owner
        self._refusals = refusals

    async def get(self, path: str) -> Any:
        if path == "/api/v1/namespaces/ns/configmaps/chart":
            if isinstance(self._owner, Exception):
                raise self._owner
            return self._owner
        name = path.removeprefix(f"{POOLS}/")
        version = self.there.get(name)
        self.on_get(name)
        return None if version is None else {"metadata": {"resourceVersion": str(version)}}

    async def apply(self, path: str, body: Any, *, manager: str, force: bool) -> Any:
        assert manager == "tidegate-operator"
        self.applied.append((path, body, force))
        name = path.removeprefix(f"{POOLS}/")
        given = body["metadata"].get("resourceVersion")
        if given is not None and given != str(self.there[name]):
            raise ConflictError("the object has been modified", 409)
        refusals = self._refusals.get(name, [])
        if refusals:
            raise refusals[0] if len(refusals) == 1 else refusals.pop(0)
        return body

    @property
    def names(self) -> list[str]:
        return [path.rpartition("/")[2] for path, _, _ in self.applied]


def pools(api: Api, owner: str | None = "chart", leads: Callable[[], bool] = lambda: True) -> Any:
    return DefaultPools(cast(KubernetesApi, api), [CHAT, SLOW], owner, leads)


async def test_they_belong_to_the_charts_object_and_take_nothing_from_people() -> None:
    api = Api()
    assert await pools(api).ensure()
    assert api.names == ["chat", "slow"]
    for (path, body, force), pool in zip(api.applied, [CHAT, SLOW], strict=True):
        assert path == f"{POOLS}/{pool['metadata']['name']}"
        assert [each["uid"] for each in body["metadata"]["ownerReferences"]] == ["u1"]
        assert (body["kind"], body["spec"], force) == ("WorkerPool", pool["spec"], False)
        assert "resourceVersion" not in body["metadata"]


async def test_after_an_uninstall_they_are_not_made_again() -> None:
    api = Api(owner=None)
    assert await pools(api).ensure()
    assert api.applied == []


async def test_without_an_owner_they_are_nobodys() -> None:
    api = Api(owner=None)
    await pools(api, None).ensure()
    assert api.applied[0][1]["metadata"]["ownerReferences"] == []


class _Patched(Api):
    """An API server where a person has set these fields."""

    def __init__(self, *fields: str) -> None:
        super().__init__()
        self._fields = fields

    async def apply(self, path: str, body: Any, *, manager: str, force: bool) -> Any:
        await super().apply(path, body, manager=manager, force=force)
        theirs = [name for name in self._fields if name in body["spec"]]
        if theirs:
            told = "".join(f"\n- .spec.{name}" for name in theirs)
            raise ConflictError(f'409 Apply failed with conflicts with "kubectl-patch":{told}', 409)
        return body


async def test_what_people_changed_stays_and_all_else_follows_the_chart() -> None:
    """An upgrade that is dropped whole for one field is found out when it is too late."""
    api = _Patched("concurrency")
    pool = {**CHAT, "spec": {"queue": "chat", "concurrency": 8, "drainSeconds": 90}}
    default = DefaultPools(cast(KubernetesApi, api), [pool], "chart", lambda: True)
    assert await default.ensure()
    assert api.applied[-1][1]["spec"] == {"queue": "chat", "drainSeconds": 90}


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ([], {"queue": "q", "scaling": {"utilization": 1, "scaleInSeconds": 5}}),
        (["queue"], {"scaling": {"utilization": 1, "scaleInSeconds": 5}}),
        (["scaling.utilization"], {"queue": "q", "scaling": {"scaleInSeconds": 5}}),
        (
            ["nothing.such", "none"],
            {"queue": "q", "scaling": {"utilization": 1, "scaleInSeconds": 5}},
        ),
    ],
)
def test_a_spec_without_fields(fields: list[str], left: dict[str, Any]) -> None:
    spec = {"queue": "q", "scaling": {"utilization": 1, "scaleInSeconds": 5}}
    assert without(spec, fields) == left


async def test_what_was_written_meanwhile_is_looked_at_anew() -> None:
    """A status, such as every keeper writes: it makes another version of the pool."""
    api = Api()
    api.there = {"chat": 7}
    looks: list[str] = []

    def written(name: str) -> None:
        looks.append(name)
        if looks == ["chat"]:
            api.there["chat"] = 8

    api.on_get = written
    assert await pools(api).ensure()
    versions = [body["metadata"].get("resourceVersion") for _, body, _ in api.applied]
    assert versions == ["7", "8", None]


async def test_a_pool_that_never_stands_still_is_left_for_the_next_time() -> None:
    api = Api()
    api.there = {"chat": 1}
    api.on_get = lambda _: api.there.update(chat=api.there["chat"] + 1)
    assert not await pools(api).ensure()
    assert api.names[-1] == "slow"


@pytest.mark.parametrize("answers", [1, 2, 3])
async def test_who_leads_no_more_writes_nothing_after_it_has_waited(answers: int) -> None:
    """A leader that was frozen while it waited holds the old values in its hand."""
    api = Api()
    heard = 0

    def leads() -> bool:
        return heard < answers

    def one_more(_: str) -> None:
        nonlocal heard
        heard += 1

    api.on_get = one_more
    await pools(api, leads=leads).ensure()
    assert api.names == ["chat", "slow"][: answers - 1]


async def test_a_refusal_of_one_stops_no_other() -> None:
    api = Api(chat=[ApiServerError("no", 403)])
    assert not await pools(api).ensure()
    assert api.names == ["chat", "slow"]


async def test_a_server_that_does_not_answer_stops_nobody() -> None:
    api = Api(owner=ApiServerError("away"))
    assert not await pools(api).ensure()


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


@pytest.mark.parametrize(
    ("held", "found"), [(CHAT, [CHAT]), ([CHAT, SLOW], [CHAT, SLOW]), ([], [])]
)
def test_a_file_holds_one_pool_or_several(tmp_path: Path, held: Any, found: Any) -> None:
    path = tmp_path / "pools.yaml"
    path.write_text(yaml.safe_dump(held))
    assert load_pools(path, "X") == found


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (None, r"pools\.yaml: is no object"),
        ([CHAT, 5], r"pools\.yaml\[1\]: is no object"),
        ([{"spec": {"queue": "a"}}], r"pools\.yaml\[0\]: metadata\.name: "),
        ({"metadata": {"name": "a" * 64}, "spec": {}}, r"metadata\.name: .* 63 characters"),
        ({"metadata": {"name": "a"}}, r"pools\.yaml: spec: is required"),
        (
            [CHAT, {"metadata": {"name": "a"}, "spec": {"queue": "a", "maxReplicas": 0}}],
            r"pools\.yaml\[1\]: spec\.maxReplicas: should be greater than or equal to 1, not 0",
        ),
        ([CHAT, SLOW, CHAT], r"pools\.yaml: chat is there more than once"),
    ],
)
def test_what_no_server_would_take_is_said_at_the_start(
    tmp_path: Path, held: Any, said: str
) -> None:
    """Else it would stand in a log, once a minute."""
    path = tmp_path / "pools.yaml"
    path.write_text(yaml.safe_dump(held))
    with pytest.raises(SettingsError, match=said) as raised:
        load_pools(path, "TIDEGATE_POOLS")
    assert str(raised.value).startswith("TIDEGATE_POOLS: ")
