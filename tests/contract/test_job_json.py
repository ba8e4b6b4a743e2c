"""One job, told over HTTP and over a socket, is the same JSON to the last field."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logs import marks
from tidegate.contracts.events import JobState, Timings, Usage
from tidegate.contracts.fold import Answer, JobError, ToolCall
from tidegate.contracts.job_json import JobJson, encode_job_json
from tidegate.contracts.jobs import JobClass, JobView
from tidegate.gateway.http_bodies import encode_job
from tidegate.gateway.proto import job_message
from tidegate.streaming.proto import job_view
from tidegate.v1 import jobs_pb2 as pb

text = st.text(max_size=8)
count = st.integers(0, 2**31 - 1)
millis = st.integers(0, 2**45)
usages = st.none() | st.builds(Usage, count, count, count, count, st.booleans())
costs = st.none() | st.integers(0, 2**53)
views = st.builds(
    JobView,
    id=text,
    state=st.sampled_from(JobState),
    model=text,
    job_class=st.sampled_from(JobClass),
    created_ms=millis,
    deadline_ms=millis,
    attempts=count,
    last_sequence=st.integers(0, 2**53),
    answer=st.none()
    | st.builds(Answer, text, text, text, st.lists(st.builds(ToolCall, text, text, text))),
    usage=usages,
    cost_nano_usd=costs,
    lost=usages,
    lost_cost_nano_usd=costs,
    cache=marks,
    saved_nano_usd=costs,
    timings=st.none()
    | st.builds(Timings, st.integers(-10, 2**40), st.none() | st.integers(0, 2**40), millis),
    error=st.none() | st.builds(JobError, text, text, st.booleans(), st.none() | millis),
    finished_ms=st.none() | millis,
    replay_of=text,
)


@given(views)
def test_a_job_loses_nothing_on_its_way_through_grpc(view: JobView) -> None:
    sent = pb.Job.FromString(job_message(view).SerializeToString())
    assert job_view(sent) == view


@given(views)
def test_a_job_over_a_socket_is_the_job_over_http_without_links(view: JobView) -> None:
    over_http = json.loads(encode_job(view, "http://sse.example"))
    over_socket = json.loads(encode_job_json(JobJson.of(job_view(job_message(view)))))
    assert over_http.pop("links") == {"events": f"http://sse.example/v1/jobs/{view.id}/events"}
    assert over_socket == over_http


@pytest.mark.parametrize("field", JobView.__struct_fields__)
def test_what_a_job_is_shown_as_covers_all_that_is_known_of_it(field: str) -> None:
    """A field that a job has and its JSON lacks is lost to every client but those of gRPC."""
    shown: dict[str, Any] = {"created_ms": "created_at", "deadline_ms": "deadline"}
    shown |= {"finished_ms": "finished_at", "cost_nano_usd": "cost"}
    shown |= {"lost_cost_nano_usd": "lost_cost", "saved_nano_usd": "saved"}
    assert shown.get(field, field) in JobJson.__struct_fields__
