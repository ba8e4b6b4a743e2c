"""Ends of jobs as HTTP errors: what a client does next is decided by status and headers."""

import re

import pytest

from tidegate.contracts.errors import InternalError, Reason, RequestIdConflict, Unavailable
from tidegate.contracts.fold import JobError
from tidegate.gateway.openai import errors
from tidegate.gateway.openai.errors import ended_badly, named_by_header, refused

# What a job can end with, in the order of the taxonomy.
ENDS = list(Reason)[list(Reason).index(Reason.CANCELLED_BY_CALLER) :]


@pytest.mark.parametrize("reason", ENDS)
def test_every_end_has_its_place_in_the_table(reason: Reason) -> None:
    """One that is forgotten would be told as something that nobody has heard of."""
    lines = [line for line in (errors.__doc__ or "").splitlines() if reason.value in line]
    assert len(lines) == 1
    status = ended_badly(JobError(reason, "why", True), keyed=False).status
    assert re.search(rf"\b{status}\b", lines[0])


@pytest.mark.parametrize("reason", [*ENDS, "OF_A_LATER_RELEASE"])
@pytest.mark.parametrize("retriable", [True, False])
def test_a_client_repeats_only_what_may_end_otherwise(reason: str, retriable: bool) -> None:
    problem = ended_badly(JobError(reason, "why", retriable, 90_000), keyed=False)
    repeats = problem.status in {429, 500, 502, 503, 504} and not problem.headers.get(
        "x-should-retry"
    )
    assert repeats == problem.repeat
    assert problem.status not in {408, 409}, "repeated blindly"
    assert ("Retry-After" in problem.headers) == problem.repeat
    assert problem.headers.get("Retry-After", "59") == "59", "clients ignore a minute and more"
    keyed = ended_badly(JobError(reason, "why", retriable), keyed=True)
    assert keyed.headers == {"x-should-retry": "false"}


def test_a_quota_that_is_used_up_is_not_asked_again() -> None:
    problem = ended_badly(JobError(Reason.PROVIDER_RATE_LIMITED, "why", False), keyed=False)
    assert (problem.status, problem.headers) == (429, {"x-should-retry": "false"})


def test_a_wait_that_is_not_known_is_short_where_one_is_due() -> None:
    problem = ended_badly(JobError(Reason.CIRCUIT_OPEN, "why", True), keyed=False)
    assert problem.headers == {"Retry-After": "2"}


def test_a_refusal_in_mid_stream_is_told_like_any_error() -> None:
    problem = refused(Unavailable("m", reason=Reason.DRAINING))
    assert (problem.status, problem.code) == (503, "draining")
    assert refused(InternalError("m")).body == (
        b'{"error":{"message":"m","type":"server_error","param":null,"code":"internal"}}'
    )


def test_a_key_that_is_taken_is_told_by_the_name_that_the_client_gave_it() -> None:
    """It never wrote a request_id, and would look for one in vain."""
    conflict = RequestIdConflict("this request_id was used", field="request_id", job_id="job_a")
    told = named_by_header(conflict)
    assert (told.message, told.field) == ("this Idempotency-Key was used", "Idempotency-Key")
    assert (told.reason, told.job_id) == (Reason.REQUEST_ID_CONFLICT, "job_a")
    assert named_by_header(InternalError("m", field="model")).field == "model"
