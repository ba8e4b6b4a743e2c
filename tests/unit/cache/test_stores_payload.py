"""Entries as stores write them: one that came back changed would be another answer."""

import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.entries import Entry, StoreError, is_entry_id
from tidegate.cache.stores.payload import (
    Space,
    checked_vector,
    collection_name,
    entry_of,
    payload_of,
)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
times = st.integers(0, 2**42)
entries = st.builds(
    Entry,
    id=st.uuids().map(str),
    key=texts,
    tenant=texts,
    scope=texts,
    model=texts,
    job_id=texts,
    question=texts,
    text=texts,
    finish_reason=texts,
    upstream_model=texts,
    created_ms=times,
    expires_ms=times,
    input_tokens=st.integers(0, 2**31),
    output_tokens=st.integers(0, 2**31),
    cost_nano_usd=st.none() | st.integers(0, 2**53),
)

SOME = Entry(str(uuid.UUID(int=1)), "", "t", "s", "m", "j", "q", "a", "stop", "u", 1, 2)


@given(entries)
def test_what_is_written_is_read_again(entry: Entry) -> None:
    assert entry_of(entry.id, payload_of(entry)) == entry


@given(entries, st.data())
def test_what_somebody_else_wrote_is_refused(entry: Entry, data: st.DataObject) -> None:
    """And not served as an answer with holes in it."""
    payload = payload_of(entry)
    payload.pop("cost_nano_usd", None)
    del payload[data.draw(st.sampled_from(sorted(payload)))]
    with pytest.raises(StoreError):
        entry_of(entry.id, payload)


def test_a_number_that_would_come_back_rounded_is_refused() -> None:
    with pytest.raises(StoreError, match="too large"):
        payload_of(replace(SOME, expires_ms=2**54))


@given(st.text(max_size=40))
def test_only_a_uuid_in_its_usual_form_names_an_entry(text: str) -> None:
    assert not is_entry_id(text) or str(uuid.UUID(text)) == text


@given(st.uuids())
def test_every_uuid_in_its_usual_form_does(number: uuid.UUID) -> None:
    assert is_entry_id(str(number))
    assert not is_entry_id(number.hex)
    assert not is_entry_id(f"{{{number}}}")


def test_each_embedder_has_a_collection_of_its_own() -> None:
    spaces = [Space("minilm-1", 384), Space("minilm-2", 384), Space("minilm-1", 768), Space("", 0)]
    assert len({collection_name(space) for space in spaces}) == 4
    assert collection_name(Space("", 0)) == "tidegate-cache-exact-0"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_what_has_no_direction_is_no_vector(value: float) -> None:
    with pytest.raises(StoreError):
        checked_vector(np.full(4, value, dtype=np.float32), Space("e", 4))
