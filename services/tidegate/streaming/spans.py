"""A span for each stream of a job, linked to the trace of the job itself.

The job's trace is known only once its attempt has begun, so the link is made at the end, from the
log's first event, and only where the span is recorded.
"""

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from tidegate.chassis.tracing import Tracing, extract
from tidegate.contracts.events import AttemptStarted, CorruptLogError, decode_event
from tidegate.eventlog.tail import Tail


def begin_stream(tracing: Tracing, surface: str, job_id: str, after_sequence: int) -> Span:
    """The span of one stream; `surface` is websocket or sse."""
    return tracing.start_span(
        f"stream {surface}",
        kind=SpanKind.SERVER,
        attributes={"tidegate.job": job_id, "tidegate.after_sequence": after_sequence},
    )


def end_stream(span: Span, tail: Tail | None, events: int) -> None:
    """End the span, with the number of events sent and the link to the job's trace."""
    if span.is_recording():
        span.set_attribute("tidegate.events", events)
        link = _trace_of(tail)
        if link is not None:
            span.add_link(link)
    span.end()


def _trace_of(tail: Tail | None) -> trace.SpanContext | None:
    if tail is None or not tail.entries:
        return None
    try:
        event = decode_event(tail.entries[0].raw)
    except CorruptLogError:
        return None
    if not isinstance(event, AttemptStarted) or not event.traceparent:
        return None
    context = trace.get_current_span(extract({"traceparent": event.traceparent}))
    found = context.get_span_context()
    return found if found.is_valid else None
