"""What the operator makes of a WorkerPool, also of one that no API server of today would take."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.subjects import check_name
from tidegate_operator.pool import (
    InvalidPool,
    PoolSpec,
    PoolStatus,
    parse_object,
    parse_pool,
    parse_status,
)

METADATA = {
    "namespace": "ai",
    "name": "chat",
    "uid": "0-1",
    "resourceVersion": "42",
    "generation": 3,
    "creationTimestamp": "2026-01-02T03:04:05Z",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
SPEC_FIELDS = sorted(each.alias or name for name, each in PoolSpec.model_fields.items())
STATUS_FIELDS = sorted(each.alias or name for name, each in PoolStatus.model_fields.items())


def body(spec: object = None, status: object = None, **metadata: Any) -> dict[str, Any]:
    spec = {"queue": "chat"} if spec is None else spec
    return {"metadata": METADATA | metadata, "spec": spec, "status": status}


def invalid(**spec: Any) -> str:
    with pytest.raises(InvalidPool) as raised:
        parse_pool(body({"queue": "chat"} | spec))
    return str(raised.value)


def test_a_pool_is_what_its_object_says() -> None:
    pool = parse_pool(body({"queue": "chat", "replicas": 2, "scaling": {"utilization": 1}}))
    assert (pool.namespace, pool.name, pool.uid) == ("ai", "chat", "0-1")
    assert (pool.resource_version, pool.generation) == ("42", 3)
    assert pool.created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (pool.spec.queue, pool.spec.replicas, pool.spec.concurrency) == ("chat", 2, 64)
    assert (pool.spec.scaling.utilization, pool.spec.scaling.cold_start_seconds) == (1, 10)
    assert pool.spec.limits.tokens_per_second is None
    assert (pool.paused, pool.dry_run, pool.deleting) == (False, False, False)
    assert pool.status == PoolStatus()


def test_annotations_pause_it() -> None:
    notes = {"tidegate.dev/paused": "true", "tidegate.dev/dryRun": "True"}
    pool = parse_pool(body(annotations=notes))
    assert (pool.paused, pool.dry_run) == (True, True)
    pool = parse_pool(body(annotations={"tidegate.dev/paused": "false"}))
    assert not pool.paused
    assert parse_pool(body(deletionTimestamp="2026-01-02T03:04:05Z")).deleting


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"minReplicas": 5, "maxReplicas": 3}, "lower minReplicas or raise maxReplicas"),
        ({"concurrency": 0}, "spec.concurrency: should be greater than or equal to 2, not 0"),
        ({"concurrency": "64"}, "spec.concurrency: should be a valid integer"),
        ({"concurrency": True}, "spec.concurrency: should be a valid integer"),
        ({"objectiveSeconds": 0}, "spec.objectiveSeconds: should be greater than 0, not 0"),
        ({"objectiveSeconds": float("inf")}, "spec.objectiveSeconds: should be a finite number"),
        ({"replicas": -1}, "spec.replicas: should be greater than or equal to 0, not -1"),
        ({"queue": "My.Queue"}, "spec.queue: the name of a queue is 1 to 63 of a-z"),
        ({"queue": None}, "spec.queue: should be a valid string"),
        ({"scaling": 5}, "spec.scaling: should be a valid dictionary"),
        ({"limits": {"usdPerHour": -1}}, "spec.limits.usdPerHour: should be greater than 0"),
        (
            {"template": {"spec": {"containers": [{"image": "mine"}]}}},
            "spec.template.spec.containers[0].name: is required",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_field(spec: dict[str, Any], said: str) -> None:
    assert said in invalid(**spec)


@pytest.mark.parametrize(
    "name", ["TIDEGATE_QUEUES", "TIDEGATE_WORKER_CONCURRENCY", "TIDEGATE_DRAIN_SECONDS"]
)
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_what_the_operator_sets_no_template_sets(name: str, kind: str) -> None:
    """Else one of the two would hide the other."""
    env = [{"name": "MINE", "value": "1"}, {"name": name, "value": "secret"}]
    said = invalid(template={"spec": {kind: [{"name": "worker", "env": env}]}})
    assert said.startswith(f"spec.template.spec.{kind}[0].env[1].name: the operator sets")
    assert "secret" not in said


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
        {"initContainers": [{"name": "a"}, {"name": "a"}]},
        {"containers": [{"name": "b", "env": [{"name": "a"}, {"name": "a"}]}]},
    ],
)
def test_what_is_merged_by_its_name_has_one_of_its_own(spec: Any) -> None:
    """Else the one could not be told from the other, and what is merged with them were lost."""
    assert "a is there more than once" in invalid(template={"spec": spec})


def test_a_pod_drains_as_long_as_the_pool_says() -> None:
    said = invalid(template={"spec": {"terminationGracePeriodSeconds": 5}})
    assert "use spec.drainSeconds" in said


@pytest.mark.parametrize(
    "spec",
    [
        {"serviceAccountName": "admin"},
        {"serviceAccountName": None},
        {"serviceAccount": "admin"},
        {"automountServiceAccountToken": True},
        {"automountServiceAccountToken": False},
        {"automountServiceAccountToken": None},
        {"automountServiceAccountToken": {"$patch": "delete"}},
        {"service_account_name": "admin"},
    ],
    ids=str,
)
def test_no_template_chooses_whose_rights_its_pods_have(spec: dict[str, Any]) -> None:
    """Else the right to write pools were that of every service account in the namespace."""
    said = invalid(template={"spec": spec})
    assert said.startswith("spec.template.spec.")
    assert "use worker.serviceAccount of the chart" in said or "valid boolean" in said


@pytest.mark.parametrize("label", ["tidegate.dev/pool", "app.kubernetes.io/instance"])
def test_no_template_takes_the_pods_away_from_their_deployment(label: str) -> None:
    assert "cannot set them" in invalid(template={"metadata": {"labels": {label: "x"}}})


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = invalid(concurrency=0, maxReplicas=0)
    assert "spec.concurrency" in said
    assert "spec.maxReplicas" in said


@pytest.mark.parametrize("spec", ["", 5, []])
def test_an_object_without_a_spec_is_no_pool(spec: object) -> None:
    with pytest.raises(InvalidPool, match=r"spec: is required"):
        parse_pool(body(spec))
    assert parse_object(body(spec)).name == "chat"


@pytest.mark.parametrize("missing", ["uid", "creationTimestamp", "resourceVersion"])
def test_an_object_that_no_server_has_sent_is_refused(missing: str) -> None:
    there = {key: each for key, each in METADATA.items() if key != missing}
    with pytest.raises(InvalidPool, match=missing):
        parse_object({"metadata": there})


def test_what_a_newer_schema_adds_is_passed_over() -> None:
    pool = parse_pool(body({"queue": "chat", "newer": {"a": 1}}, {"newer": 1, "waiting": 4}))
    assert pool.status.waiting == 4


def test_of_a_status_is_read_what_can_be() -> None:
    """A status that nobody understands any more must not keep a pool from being kept."""
    status = parse_status({"waiting": "many", "serviceSeconds": 2.5, "conditions": [{"type": 1}]})
    assert status == PoolStatus(service_seconds=2.5)


def test_a_template_comes_out_as_it_was_written() -> None:
    template = {
        "metadata": {"labels": {"a": "b", "gone": None}, "annotations": {"c": "d"}},
        "spec": {
            "priorityClassName": None,
            "affinity": {"$patch": "delete"},
            "containers": [{"name": "worker", "livenessProbe": None, "env": [{"name": "A"}]}],
        },
    }
    assert parse_pool(body({"queue": "chat", "template": template})).spec.pod_overrides == template
    assert PoolSpec(queue="chat").pod_overrides == {}


@given(st.text(max_size=70) | st.from_regex(r"[a-z0-9_-]{0,64}", fullmatch=True))
def test_a_queue_is_named_as_in_a_subject(name: str) -> None:
    try:
        check_name(name, "queue")
    except InvalidRequest:
        with pytest.raises(InvalidPool):
            parse_pool(body({"queue": name}))
    else:
        assert parse_pool(body({"queue": name})).spec.queue == name


@given(st.dictionaries(st.sampled_from(SPEC_FIELDS) | st.text(max_size=5), JSON))
def test_any_spec_is_a_pool_or_is_refused_in_words(spec: dict[str, Any]) -> None:
    """The operator never ends over an object, whatever is in it."""
    try:
        pool = parse_pool(body({"queue": "chat"} | spec))
    except InvalidPool as error:
        said = str(error)
    else:
        said = "spec"
        assert 0 <= pool.spec.min_replicas <= pool.spec.max_replicas
    assert said.startswith("spec")


@given(st.dictionaries(st.sampled_from(STATUS_FIELDS) | st.text(max_size=5), JSON) | JSON)
def test_any_status_is_read(status: object) -> None:
    assert isinstance(parse_status(status), PoolStatus)


@given(
    st.builds(
        PoolStatus,
        replicas=st.integers(0, 1000),
        waiting=st.none() | st.integers(0, 10**9),
        service_seconds=st.none() | st.floats(0, 1e6),
        last_scale_time=st.none() | st.datetimes(timezones=st.just(UTC)),
    )
)
def test_a_status_is_read_as_it_was_written(status: PoolStatus) -> None:
    written = status.as_object()
    assert None not in written.values()
    assert parse_status(written) == status
