"""A worker's load on the wire, between releases that do not know each other's fields."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.load import (
    LOAD_VERSION,
    UndecodableLoad,
    WorkerLoad,
    decode_load,
    encode_load,
)

numbers = st.integers(0, 2**63 - 1)
texts = st.text(max_size=20)
hosts = st.from_regex(r"\A[A-Za-z0-9.-]{1,253}\Z")
loads = st.builds(
    WorkerLoad,
    worker=texts,
    host=hosts,
    queue=texts,
    slots=numbers,
    running=numbers,
    waiting=numbers,
    blocked=st.booleans(),
    draining=st.booleans(),
    ended=numbers,
    busy_seconds=st.floats(0, 1e15),
    output_tokens=numbers,
    nano_usd=numbers,
    priced=numbers,
    version=st.just(LOAD_VERSION),
)
LOAD = WorkerLoad(
    worker="a1",
    host="tidegate-worker-x",
    queue="default",
    slots=64,
    running=3,
    waiting=1,
    blocked=False,
    draining=False,
    ended=7,
    busy_seconds=12.5,
    output_tokens=900,
    nano_usd=1_000,
    priced=6,
)


def changed(**fields: object) -> bytes:
    """The payload of a load with other fields, as anybody could send."""
    return msgspec.json.encode(msgspec.to_builtins(LOAD) | fields)


@given(loads)
def test_what_is_told_is_heard(load: WorkerLoad) -> None:
    assert decode_load(encode_load(load)) == load


@given(st.binary(max_size=200))
def test_bytes_of_others_are_a_load_or_refused(payload: bytes) -> None:
    with contextlib.suppress(UndecodableLoad):
        decode_load(payload)


def test_a_field_of_a_newer_release_is_passed_over() -> None:
    assert decode_load(changed(gpu={"free": 1})) == LOAD


@pytest.mark.parametrize(
    "fields",
    [{"version": LOAD_VERSION + 1}, {"slots": -1}, {"busy_seconds": -0.5}, {"running": "3"}],
)
def test_what_would_be_misread_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UndecodableLoad):
        decode_load(changed(**fields))


def test_the_names_on_the_wire_stay() -> None:
    """A release that calls a field otherwise would be taken for no load by all others."""
    assert encode_load(LOAD) == (
        b'{"worker":"a1","host":"tidegate-worker-x","queue":"default","slots":64,"running":3,'
        b'"waiting":1,"blocked":false,"draining":false,"ended":7,"busy_seconds":12.5,'
        b'"output_tokens":900,"nano_usd":1000,"priced":6,"version":1}'
    )


@pytest.mark.parametrize("host", ["", "a" * 254, "../pods", "a/b", "a?b", "a b", "a\n", "ä"])
def test_a_host_that_is_no_dns_name_is_not_read(host: str) -> None:
    with pytest.raises(UndecodableLoad):
        decode_load(encode_load(msgspec.structs.replace(LOAD, host=host)))
