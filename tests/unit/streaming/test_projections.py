"""Creates on their way to the gateway, and the span of a stream."""

import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tidegate.chassis.tracing import Tracing
from tidegate.contracts.create import CreateBody
from tidegate.contracts.events import Append, AttemptStarted, encode_append, encode_event
from tidegate.contracts.jobs import JobClass
from tidegate.eventlog.tail import Tail
from tidegate.streaming.proto import create_request, job_view
from tidegate.streaming.spans import begin_stream, end_stream
from tidegate.v1 import jobs_pb2 as pb

JOB = "job_" + "a" * 26
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_create_asks_the_gateway_for_all_that_the_frame_says() -> None:
    """A field that is dropped on the way is obeyed over HTTP and ignored over a socket."""
    asked = CreateBody(
        msgspec.Raw(b'{"model": "m"}'),
        request_id="r",
        job_class=JobClass.BATCH,
        ttl_s=1.5,
        on_disconnect="cancel",
    )
    assert create_request(asked) == pb.CreateJobRequest(
        request_id="r",
        chat_json=b'{"model": "m"}',
        job_class=pb.JOB_CLASS_BATCH,
        ttl=Duration(seconds=1, nanos=500_000_000),
        on_disconnect=pb.ON_DISCONNECT_CANCEL,
    )
    assert create_request(CreateBody(msgspec.Raw(b"{}"))) == pb.CreateJobRequest(chat_json=b"{}")


@pytest.mark.parametrize("seconds", [5e-324, 1e9])
def test_any_time_to_live_of_the_right_form_reaches_the_gateway(seconds: float) -> None:
    """Which refuses it in its own words, where it is out of bounds."""
    asked = CreateBody(msgspec.Raw(b"{}"), ttl_s=seconds)
    assert create_request(asked).HasField("ttl")


def test_a_class_of_a_newer_release_is_told_as_one_that_is_known() -> None:
    job = pb.Job(state=pb.JOB_STATE_QUEUED)
    assert job_view(job).job_class == "interactive"


def test_a_tier_of_a_newer_release_is_not_told_as_another_one() -> None:
    job = pb.Job(state=pb.JOB_STATE_QUEUED)
    job.cache.source = "job_a"
    assert job_view(job).cache is None


def tail(traceparent: str) -> Tail:
    made = Tail("dev", JOB)
    started = encode_event(AttemptStarted(1, "w", traceparent=traceparent))
    made.take(1, encode_append(Append(1, 1, 1, [started])))
    return made


@pytest.mark.parametrize(("traceparent", "links"), [(TRACE, 1), ("", 0), ("nonsense", 0)])
def test_a_stream_is_linked_to_its_jobs_trace(traceparent: str, links: int) -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    span = begin_stream(Tracing(provider), "sse", JOB, 0)
    end_stream(span, tail(traceparent), 5)
    (finished,) = kept.get_finished_spans()
    assert len(finished.links) == links
    assert finished.attributes is not None
    assert finished.attributes["tidegate.events"] == 5
    if links:
        assert finished.links[0].context.trace_id == int(TRACE.split("-")[1], 16)


def test_a_stream_without_tracing_costs_no_link() -> None:
    span = begin_stream(Tracing(), "sse", JOB, 0)
    end_stream(span, None, 0)
    assert not span.is_recording()
