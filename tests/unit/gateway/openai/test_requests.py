"""Bodies and headers of the OpenAI door: taken, or refused with the field; never anything else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.chat import FIELDS, canonical_chat
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.jobs import JobClass
from tidegate.gateway.openai import embeddings_request, request
from tidegate.gateway.openai.embeddings_request import parse_embeddings
from tidegate.gateway.openai.request import Completion, parse_completion

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
NO_HEADERS: dict[str, str | None] = dict.fromkeys(
    (
        request.CLASS_HEADER,
        request.ON_DISCONNECT_HEADER,
        request.IDEMPOTENCY_HEADER,
        request.RETRY_COUNT_HEADER,
    )
)

names = st.sampled_from(sorted(FIELDS | embeddings_request.FIELDS | {"service_tier", "x", "role"}))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
# NaN and Infinity among them, which Python writes and JSON does not have.
bodies = st.binary(max_size=20) | st.one_of(
    values, st.dictionaries(names, values).map(lambda more: BODY | {"input": "x"} | more)
).map(lambda value: json.dumps(value).encode())
headers = st.fixed_dictionaries(
    {name: st.none() | st.text(max_size=9) for name in NO_HEADERS}
) | st.just(NO_HEADERS)


def completion(header: dict[str, str] | None = None, **more: Any) -> Completion:
    return parse_completion(json.dumps(BODY | more).encode(), NO_HEADERS | (header or {}))


@given(bodies, headers)
def test_no_bytes_raise_anything_but_a_refusal(body: bytes, given_: dict[str, str | None]) -> None:
    """Anything else is an internal error and pages somebody."""
    for parse in (lambda: parse_completion(body, given_), lambda: parse_embeddings(body)):
        try:
            asked = parse()
        except InvalidRequest as error:
            told = error.message + (error.field or "")
        else:
            sent = canonical_chat(asked.chat) if isinstance(asked, Completion) else asked.body()
            json.loads(sent)
            continue
        # It must be possible to send it, and to write it into a header of gRPC.
        assert len(told.encode()) < 2000


def test_how_an_answer_is_to_come_is_no_part_of_what_is_asked() -> None:
    """A repeat without a stream is the same job."""
    options = {"include_usage": True, "include_obfuscation": False}
    streamed = completion(stream=True, stream_options=options, service_tier="default")
    assert (streamed.stream, streamed.include_usage) == (True, True)
    assert canonical_chat(streamed.chat) == canonical_chat(completion().chat)
    assert not completion(stream=None, stream_options=None, service_tier=None).stream


@pytest.mark.parametrize(
    ("tier", "header", "expected"),
    [
        (None, None, JobClass.INTERACTIVE),
        ("auto", None, JobClass.INTERACTIVE),
        ("flex", None, JobClass.BATCH),
        ("flex", "batch", JobClass.BATCH),
        ("default", "batch", JobClass.BATCH),
        (None, "interactive", JobClass.INTERACTIVE),
    ],
)
def test_a_tier_or_a_header_says_the_class(
    tier: str | None, header: str | None, expected: JobClass
) -> None:
    given_ = {} if header is None else {request.CLASS_HEADER: header}
    assert completion(given_, service_tier=tier).job_class is expected


def test_who_waits_for_an_answer_takes_the_job_along_unless_it_says_otherwise() -> None:
    assert completion().on_disconnect == "cancel"
    assert completion({request.ON_DISCONNECT_HEADER: "detach"}).on_disconnect == "detach"


@pytest.mark.parametrize(
    ("count", "expected"), [("0", 0), ("12", 12), ("", None), ("٣", None), ("1e3", None)]
)
def test_a_retry_count_is_a_number_or_nothing(count: str, expected: int | None) -> None:
    assert completion({request.RETRY_COUNT_HEADER: count}).retry_count == expected


def test_extra_fields_of_embeddings_are_sent_on() -> None:
    body = b'{"truncate":"END","model":"m","input":["a"],"dimensions":null}'
    asked = parse_embeddings(body)
    assert asked.extra == {"truncate": "END"}
    assert asked.body() == b'{"dimensions":null,"input":["a"],"model":"m","truncate":"END"}'
