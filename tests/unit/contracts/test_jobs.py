"""The queued job: its id, its hash and its message, alike in every process and release."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logs import Log, logs
from tidegate.contracts.events import CorruptLogError
from tidegate.contracts.fold import fold
from tidegate.contracts.jobs import (
    JOB_VERSION,
    JobClass,
    QueuedJob,
    decode_job,
    encode_job,
    hash_request,
    job_id_for,
    new_job_id,
    view,
)


def job(**changes: object) -> QueuedJob:
    made = QueuedJob(
        id="job_v5pu6gcb5chlzlsqeaunkhagfq",
        tenant="acme",
        key_id="k1",
        queue="default",
        job_class=JobClass.BATCH,
        ttl_ms=60_000,
        model="sim-1",
        request_hash="ab",
        request=msgspec.Raw(b'{"messages":[{"content":"hi","role":"user"}],"model":"sim-1"}'),
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("tenant", "request_id", "job_id"),
    [
        ("acme", "order-1", "job_v5pu6gcb5chlzlsqeaunkhagfq"),
        ("acme", "ø", "job_ly5rlo7ynivgydgkjzw2nsvpk4"),
        ("globex", "order-1", "job_dg7tiwfrahnkov65w4vwqnyt4y"),
    ],
)
def test_a_request_id_stands_for_the_same_job_for_ever(
    tenant: str, request_id: str, job_id: str
) -> None:
    """A repeat that a newer release answers would run, and be paid for, a second time."""
    assert job_id_for(tenant, request_id) == job_id


@given(st.text(max_size=9), st.text(max_size=9))
def test_two_tenants_never_share_a_job(one: str, other: str) -> None:
    if one != other:
        assert job_id_for("acme", one) != job_id_for("acme", other)
    assert job_id_for("acme", one) != job_id_for("acme2", other)


def test_ids_without_a_request_id_are_never_alike() -> None:
    assert len({new_job_id() for _ in range(1000)}) == 1000


def test_the_hash_tells_bodies_and_classes_apart() -> None:
    """Else another body under the same request id would be answered with this one's result."""
    body = b'{"model":"m"}'
    hashes = [
        hash_request(JobClass.INTERACTIVE, body),
        hash_request(JobClass.BATCH, body),
        hash_request(JobClass.BATCH, body + b" "),
    ]
    assert len(set(hashes)) == 3
    assert hashes[0] == "4c58dfab0c1526491928e9d768de81379057be57620c1960da347eafdbdaaaa0"


def test_a_job_reads_back_and_its_request_is_untouched() -> None:
    made = job(traceparent="00-a-b-01")
    read = decode_job(encode_job(made))
    assert read == made
    assert bytes(read.request) == bytes(made.request)
    assert read.subject == "jobs.default.batch.14.acme.job_v5pu6gcb5chlzlsqeaunkhagfq"


def test_the_version_stands_in_every_job() -> None:
    assert msgspec.json.decode(encode_job(job()))["v"] == JOB_VERSION


def test_a_newer_job_is_refused_and_a_newer_field_passed_over() -> None:
    with pytest.raises(CorruptLogError, match="newer"):
        decode_job(encode_job(job(v=JOB_VERSION + 1)))
    wider = msgspec.json.decode(encode_job(job())) | {"budget": 5}
    assert decode_job(msgspec.json.encode(wider)).id == job().id


@given(st.binary(max_size=80))
@pytest.mark.parametrize("tail", [b"", b"[" * 100_000])
def test_bytes_that_are_no_job_are_an_error_that_workers_know(tail: bytes, payload: bytes) -> None:
    """A worker that died of one bad message would die of it again on every redelivery."""
    with pytest.raises(CorruptLogError):
        decode_job(payload + tail)


def test_the_deadline_counts_from_jetstreams_clock() -> None:
    """Gateways whose clocks disagree must not expire each other's jobs."""
    summary = job().summary(1_000_000)
    assert (summary.created_ms, summary.deadline_ms) == (1_000_000, 1_060_000)


@given(logs())
def test_a_view_is_the_fold_and_hides_nothing_but_the_answer_and_its_mark(log: Log) -> None:
    folded = fold(log.lines)
    whole = view(job().summary(5), folded)
    listed = view(job().summary(5), folded, with_answer=False)
    assert whole.answer == folded.answer()
    assert listed == msgspec.structs.replace(whole, answer=None, cache=None)
    assert (whole.cache, whole.saved_nano_usd) == (folded.cache, folded.saved_nano_usd)
    assert whole.last_sequence == len(log.events)
    assert whole.state.terminal == log.sealed == (whole.finished_ms is not None)
