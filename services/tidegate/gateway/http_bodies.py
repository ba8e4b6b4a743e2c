"""The bodies of the HTTP surface: what a create asks for, and jobs with their links. No I/O."""

from tidegate.contracts.chat import parse_chat
from tidegate.contracts.create import JSON_NAMES, parse_create
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.job_json import JobJson, encode_job_json, encode_page_json
from tidegate.contracts.jobs import JobClass, JobView
from tidegate.gateway.creation import NewJob
from tidegate.gateway.listing import Page


def new_job(body: bytes, idempotency_key: str | None) -> NewJob:
    """What a POST /v1/jobs asks for.

    Raises:
        InvalidRequest: names the field.
    """
    asked = parse_create(body)
    return NewJob(
        chat=parse_chat(asked.request, path=JSON_NAMES.request),
        request_id=_one_id(asked.request_id, idempotency_key),
        job_class=asked.job_class or JobClass.INTERACTIVE,
        ttl_seconds=asked.ttl_s,
        ttl_field=JSON_NAMES.ttl,
        chat_field=JSON_NAMES.request,
        on_disconnect=asked.on_disconnect or "detach",
    )


def encode_job(job: JobView, sse_url: str) -> bytes:
    """The job."""
    return encode_job_json(_linked(job, sse_url))


def encode_page(page: Page, sse_url: str) -> bytes:
    """The page."""
    return encode_page_json([_linked(job, sse_url) for job in page.jobs], page.next_page_token)


def _linked(job: JobView, sse_url: str) -> JobJson:
    return JobJson.of(job, {"events": f"{sse_url}/v1/jobs/{job.id}/events"})


def _one_id(request_id: str | None, idempotency_key: str | None) -> str:
    if idempotency_key == "":
        raise InvalidRequest("the header Idempotency-Key is empty", field="request_id")
    if request_id and idempotency_key and request_id != idempotency_key:
        raise InvalidRequest("request_id and the header Idempotency-Key differ", field="request_id")
    return request_id or idempotency_key or ""
