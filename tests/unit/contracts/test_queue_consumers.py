"""Who may write a queue's consumers: a mistake undoes a migration, or hides that nobody routes."""

from typing import Any

import pytest

from tidegate.contracts.jobs import JobClass
from tidegate.contracts.queue_consumers import (
    OPERATOR_MARK,
    SCHEMA,
    SCHEMA_KEY,
    agrees,
    consumer_config,
    gateways_change,
    is_newer,
    mark_of,
    operators_change,
    schema_of,
)

OPERATOR = "tide/tidegate-operator"
WANTED = consumer_config("default", JobClass.BATCH)
# What the server adds of its own.
OF_THE_SERVER: dict[str, Any] = {"num_replicas": 0, "replay_policy": "instant"}


def kept(schema: int | None = SCHEMA, mark: str | None = None, **changed: Any) -> dict[str, Any]:
    """A consumer as the server tells of it."""
    metadata = {"_nats.ver": "2.15.1"}
    if schema is not None:
        metadata[SCHEMA_KEY] = str(schema)
    if mark is not None:
        metadata[OPERATOR_MARK] = mark
    return WANTED | OF_THE_SERVER | {"metadata": metadata} | changed


def gateway(found: dict[str, Any] | None) -> dict[str, Any] | None:
    return gateways_change("default", JobClass.BATCH, found)


def operator(found: dict[str, Any] | None) -> dict[str, Any] | None:
    return operators_change("default", JobClass.BATCH, OPERATOR, found)


def test_what_the_two_make_differs_by_the_mark_alone() -> None:
    made = operator(None)
    assert made is not None
    assert gateway(None) == WANTED
    assert mark_of(made) == OPERATOR
    assert mark_of(WANTED) is None
    assert gateway(made) == WANTED


def test_a_gateway_takes_nothing_but_the_mark_from_one_that_is_right() -> None:
    """Such as a pause that a person has set."""
    paused: dict[str, Any] = {"pause_until": "2030-01-01T00:00:00Z"}
    assert gateway(kept(mark=OPERATOR, **paused)) == kept(**paused)
    assert gateway(kept(mark="", **paused)) == kept(**paused)
    assert gateway(kept(**paused)) is None


def test_a_gateway_takes_the_mark_from_one_of_a_newer_release_and_keeps_what_that_made() -> None:
    newer: dict[str, Any] = {"schema": SCHEMA + 1, "max_ack_pending": 77}
    assert gateway(kept(mark=OPERATOR, **newer)) == kept(**newer)
    assert gateway(kept(**newer)) is None


@pytest.mark.parametrize("mark", [None, OPERATOR])
def test_a_gateway_brings_others_into_order(mark: str | None) -> None:
    for found in (kept(schema=None, mark=mark), kept(mark=mark, max_ack_pending=77)):
        assert gateway(found) == WANTED


@pytest.mark.parametrize("mark", [None, OPERATOR, "another/operator"])
@pytest.mark.parametrize("schema", [SCHEMA, SCHEMA + 1])
def test_an_operator_leaves_what_is_there(mark: str | None, schema: int) -> None:
    """Though it is not as it would be: a gateway sees to that, or a person has meant it."""
    assert operator(kept(schema, mark, max_ack_pending=77)) is None


@pytest.mark.parametrize("mark", [None, OPERATOR, "another/operator"])
def test_an_operator_migrates_and_leaves_the_mark_as_it_is(mark: str | None) -> None:
    change = operator(kept(SCHEMA - 1, mark, max_ack_pending=77))
    assert change is not None
    assert mark_of(change) == mark
    assert {**change, "metadata": WANTED["metadata"]} == WANTED
    assert schema_of(change) == SCHEMA


@pytest.mark.parametrize("schema", ["", "two", "-1", "1.5"])
def test_a_schema_that_is_no_number_is_older_than_any(schema: str) -> None:
    """By hand anything can be written there, and nobody must fall over it."""
    found = kept() | {"metadata": {SCHEMA_KEY: schema}}
    assert schema_of(found) == 0
    assert not is_newer(found)
    assert gateway(found) == WANTED


def test_what_the_server_leaves_out_is_false() -> None:
    assert agrees({"flag": False, "metadata": {}}, {"metadata": None})
    assert not agrees({"flag": True}, {})
    assert not agrees({"name": "x"}, {"name": "y"})
