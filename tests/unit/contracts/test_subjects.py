"""Subjects: what a name may be, and where a job is found; both outlive every release."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts import subjects
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.jobs import job_id_for, new_job_id

JOB = "job_v5pu6gcb5chlzlsqeaunkhagfq"
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)


@given(st.text())
def test_no_name_can_reach_into_another_subject(name: str) -> None:
    """A tenant called "*" would read everybody's jobs."""
    try:
        subjects.check_name(name, "tenant")
    except InvalidRequest:
        return
    else:
        assert re.fullmatch(r"[a-z0-9_-]+", name)
        assert len(name) <= 63


@pytest.mark.parametrize(
    "name", ["", "a.b", "*", ">", "a b", "A", "a\n", "-a", "_a", "é", "a" * 64, "a\0", "$sys"]
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        subjects.check_name(name, "queue")
    assert caught.value.field == "queue"


@given(names)
def test_names_that_are_taken(name: str) -> None:
    assert subjects.check_name(name, "tenant") == name


@pytest.mark.parametrize(
    "text",
    ["", "job_", JOB + "\n", JOB.upper(), JOB[:-1], JOB + "a", "job_*", JOB.replace("v", "1"), ">"],
)
def test_what_is_no_job_id_never_enters_a_subject(text: str) -> None:
    assert not subjects.is_job_id(text)


@given(names, st.text(max_size=50).filter(lambda text: text.isprintable()))
def test_every_id_that_is_given_out_is_one_that_is_taken(tenant: str, request_id: str) -> None:
    assert subjects.is_job_id(job_id_for(tenant, request_id))
    assert subjects.is_job_id(new_job_id())


@pytest.mark.parametrize(
    ("job_id", "shard"),
    [
        (JOB, 28),
        ("job_aaaaaaaaaaaaaaaaaaaaaaaaaa", 54),
        ("job_abcdefghijklmnopqrstuvwxyz", 51),
    ],
)
def test_a_job_keeps_its_shard_for_ever(job_id: str, shard: int) -> None:
    """A release that counted otherwise would not find the logs that are stored."""
    assert subjects.shard_of(job_id) == shard


@pytest.mark.parametrize(("tenant", "lane"), [("acme", 14), ("globex", 10), ("dev", 5)])
def test_a_tenant_keeps_its_lane_for_ever(tenant: str, lane: int) -> None:
    assert subjects.lane_of(tenant) == lane


def test_the_subjects_are_what_stored_messages_are_under() -> None:
    assert (
        subjects.job_subject("default", "batch", "acme", JOB) == f"jobs.default.batch.14.acme.{JOB}"
    )
    assert subjects.job_anywhere("acme", JOB) == f"jobs.*.*.*.acme.{JOB}"
    assert subjects.log_subject("acme", JOB) == f"events.28.acme.{JOB}"
    assert subjects.live_subject("acme", JOB) == f"live.28.acme.{JOB}"
    assert subjects.control_subject("acme", JOB) == f"control.acme.{JOB}"
    assert subjects.nudge_subject("acme", JOB) == f"nudge.acme.{JOB}"
    assert subjects.dead_letter_subject("default", "acme", JOB) == f"dlq.default.acme.{JOB}"
    assert subjects.recent_subject("acme", "0f") == "recent.acme.0f"
    assert subjects.honesty_subject("acme") == "honesty.acme"
    assert subjects.readers_subject("acme", JOB) == f"readers.acme.{JOB}"
    assert subjects.left_subject("acme", JOB) == f"left.acme.{JOB}"
    key = "api=2eopenai=2ecom.gpt-4o=2fmini"
    assert subjects.breaker_subject("api.openai.com", "gpt-4o/mini") == (
        f"$KV.tidegate_breakers.{key}"
    )
    assert subjects.breaker_live_subject("api.openai.com", "gpt-4o/mini") == f"breaker.{key}"


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_every_provider_and_model_has_a_breaker_of_its_own(a: str, b: str, c: str, d: str) -> None:
    """Names come from the routes file, and may hold anything."""
    key = subjects.breaker_subject(a, b)
    assert matches(subjects.BREAKERS_KEYS, key)
    assert re.fullmatch(r"\$KV\.tidegate_breakers\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+", key)
    assert (key == subjects.breaker_subject(c, d)) == ((a, b) == (c, d))


def matches(pattern: str, subject: str) -> bool:
    wanted, found = pattern.split("."), subject.split(".")
    return len(wanted) == len(found) and all(
        w in {"*", f} for w, f in zip(wanted, found, strict=True)
    )


@given(names, names, names, names)
def test_filters_find_the_tenants_own_and_nobody_elses(
    queue: str, tenant: str, stranger: str, request_id: str
) -> None:
    """Listing and deletion work by filter: a wrong one shows or deletes another's jobs."""
    job_id = job_id_for(tenant, request_id)
    job = subjects.job_subject(queue, "interactive", tenant, job_id)
    log = subjects.log_subject(tenant, job_id)
    assert matches(subjects.JOBS_ALL, job)
    assert matches(subjects.job_anywhere(tenant, job_id), job)
    assert matches(subjects.jobs_of_tenant(tenant), job)
    assert matches(subjects.jobs_of_consumer(queue, "interactive"), job)
    assert not matches(subjects.jobs_of_consumer(queue, "batch"), job)
    assert matches(subjects.EVENTS_ALL, log)
    assert matches(subjects.logs_of_tenant(tenant), log)
    assert matches(subjects.live_shard(subjects.shard_of(job_id)), f"live{log[6:]}")
    letter = subjects.dead_letter_subject(queue, tenant, job_id)
    assert matches(subjects.DLQ_ALL, letter)
    assert matches(subjects.dead_letter_anywhere(tenant, job_id), letter)
    assert matches(subjects.dead_letters_of_tenant(tenant), letter)
    for subject in (job, log, letter, subjects.control_subject(tenant, job_id)):
        assert subjects.tenant_and_job(subject) == (tenant, job_id)
    if stranger != tenant:
        assert not matches(subjects.jobs_of_tenant(stranger), job)
        assert not matches(subjects.logs_of_tenant(stranger), log)
        assert not matches(subjects.dead_letters_of_tenant(stranger), letter)
        assert not matches(subjects.job_anywhere(stranger, job_id), job)


@given(st.text())
def test_no_request_is_named_by_what_reaches_into_another_subject(key: str) -> None:
    """The name comes from another process; a wildcard would be everybody's flight."""
    assert not subjects.is_flight_key(key) or re.fullmatch("[0-9a-f]{64}", key)


def test_a_flight_belongs_to_a_tenant() -> None:
    assert subjects.is_flight_key("0f" * 32)
    assert subjects.flight_subject("acme", "0f" * 32) == "flights.acme." + "0f" * 32


@given(names)
def test_a_queue_that_is_woken_is_known_by_the_subject(queue: str) -> None:
    assert subjects.queue_of_wake(subjects.wake_subject(queue)) == queue
