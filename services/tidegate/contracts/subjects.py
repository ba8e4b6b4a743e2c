"""Every stream, subject, consumer and header name, declared once.

    jobs.<queue>.<class>.<lane>.<tenant>.<job>   JOBS     work queue: one queued or running job
    events.<shard>.<tenant>.<job>                EVENTS   the job's log
    live.<shard>.<tenant>.<job>                  —        EVENTS republished after storing
    control.<tenant>.<job>                       CONTROL  a durable request to cancel
    nudge.<tenant>.<job>                         —        "look at control now", best effort
    dlq.<queue>.<tenant>.<job>                   DLQ      a job that failed for good, to be replayed
    $KV.tidegate_breakers.<provider>.<model>     KV_…     a circuit breaker's state, fleet-wide
    breaker.<provider>.<model>                   —        the same, republished after storing
    recent.<tenant>.<digest>                     RECENT   which job a request without an id made
    flights.<tenant>.<key>                       FLIGHTS  who calls the model for a request now
    honesty.<tenant>                             HONESTY  how often the cache's hits were wrong
    readers.<tenant>.<job>                       —        "does anybody read it?"
    here.<tenant>.<job>                          —        "I do", or did a moment ago
    left.<tenant>.<job>                          —        "my last reader of it has gone"
    figures.ask.<process>.<question>             —        "what have you counted so far?"
    figures.here.<process>.<question>            —        the answer of each process
    wake.<queue>                                 —        "a job has come", to the operator
    load.<queue>.<worker>                        —        how full a worker is, told all the time

Tenant, queue and job names are subject-safe: they never hold a dot, a wildcard or white space.
"""

import re
from typing import Final
from zlib import crc32

from tidegate.contracts.errors import InvalidRequest

JOBS_STREAM: Final = "JOBS"
EVENTS_STREAM: Final = "EVENTS"
CONTROL_STREAM: Final = "CONTROL"
DLQ_STREAM: Final = "DLQ"
RECENT_STREAM: Final = "RECENT"
FLIGHTS_STREAM: Final = "FLIGHTS"
HONESTY_STREAM: Final = "HONESTY"
# A key-value bucket is a stream of this name over these subjects (the server's ADR-8).
BREAKERS_BUCKET: Final = "tidegate_breakers"
BREAKERS_STREAM: Final = f"KV_{BREAKERS_BUCKET}"

JOBS_ALL: Final = "jobs.*.*.*.*.*"
EVENTS_ALL: Final = "events.*.*.*"
CONTROL_ALL: Final = "control.*.*"
NUDGE_ALL: Final = "nudge.*.*"
DLQ_ALL: Final = "dlq.*.*.*"
RECENT_ALL: Final = "recent.*.*"
FLIGHTS_ALL: Final = "flights.*.*"
HONESTY_ALL: Final = "honesty.*"
READERS_ALL: Final = "readers.*.*"
HERE_ALL: Final = "here.*.*"
LEFT_ALL: Final = "left.*.*"
FIGURES_ASK_ALL: Final = "figures.ask.*.*"
WAKE_ALL: Final = "wake.*"
LOAD_ALL: Final = "load.*.*"
BREAKERS_ALL: Final = f"$KV.{BREAKERS_BUCKET}.>"
BREAKERS_LIVE_ALL: Final = "breaker.>"
BREAKERS_LIVE_DESTINATION: Final = "breaker.{{wildcard(1)}}.{{wildcard(2)}}"
BREAKERS_KEYS: Final = f"$KV.{BREAKERS_BUCKET}.*.*"
LIVE_DESTINATION: Final = "live.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}"

# A reader subscribes to the shards that its clients' jobs fall into. Changing this number needs
# readers that know both numbers first.
SHARDS: Final = 64
# Lanes separate tenants within a queue, so that fairness can be added without moving subjects.
LANES: Final = 16

EXPECTED_LAST_SUBJECT_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
ROLLUP: Final = "Nats-Rollup"
MESSAGE_TTL: Final = "Nats-TTL"
STREAM_SEQUENCE: Final = "Nats-Sequence"
PREVIOUS_STREAM_SEQUENCE: Final = "Nats-Last-Sequence"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]")
_JOB_ID = re.compile(r"job_[a-z2-7]{26}")
_FLIGHT_KEY = re.compile(r"[0-9a-f]{64}")


def check_name(name: str, what: str) -> str:
    """Returns a tenant or queue name that may stand in a subject.

    Raises:
        InvalidRequest: it is empty, longer than 63, or holds anything but a-z, 0-9, - and _.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{what} must be 1 to 63 of a-z, 0-9, '-' and '_'", field=what)
    return name


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job id; nothing else may enter a subject."""
    return _JOB_ID.fullmatch(text) is not None


def shard_of(job_id: str) -> int:
    """The shard of a job's log, 0 to SHARDS - 1."""
    return crc32(job_id.encode()) % SHARDS


def lane_of(tenant: str) -> int:
    """The lane of a tenant's jobs, 0 to LANES - 1."""
    return crc32(tenant.encode()) % LANES


def job_subject(queue: str, job_class: str, tenant: str, job_id: str) -> str:
    """Where a job waits."""
    return f"jobs.{queue}.{job_class}.{lane_of(tenant)}.{tenant}.{job_id}"


def job_anywhere(tenant: str, job_id: str) -> str:
    """A job in whichever queue and class it waits."""
    return f"jobs.*.*.*.{tenant}.{job_id}"


def jobs_of_tenant(tenant: str) -> str:
    """All of a tenant's queued and running jobs."""
    return f"jobs.*.*.*.{tenant}.*"


def jobs_of_consumer(queue: str, job_class: str) -> str:
    """What one consumer delivers."""
    return f"jobs.{queue}.{job_class}.*.*.*"


def consumer_name(queue: str, job_class: str) -> str:
    """The durable consumer of one queue and class."""
    return f"{queue}-{job_class}"


def log_subject(tenant: str, job_id: str) -> str:
    """Where a job's log is."""
    return f"events.{shard_of(job_id)}.{tenant}.{job_id}"


def logs_of_tenant(tenant: str) -> str:
    """All of a tenant's logs."""
    return f"events.*.{tenant}.*"


def logs_of_shard(shard: int) -> str:
    """All logs of one shard."""
    return f"events.{shard}.*.*"


def live_subject(tenant: str, job_id: str) -> str:
    """Where a job's stored appends are heard."""
    return f"live.{shard_of(job_id)}.{tenant}.{job_id}"


def live_shard(shard: int) -> str:
    """All that is heard of one shard."""
    return f"live.{shard}.*.*"


def control_subject(tenant: str, job_id: str) -> str:
    """Where the request to cancel a job is kept."""
    return f"control.{tenant}.{job_id}"


def nudge_subject(tenant: str, job_id: str) -> str:
    """Tells the attempt's owner to look at control."""
    return f"nudge.{tenant}.{job_id}"


def dead_letter_subject(queue: str, tenant: str, job_id: str) -> str:
    """Where a job that failed for good is kept."""
    return f"dlq.{queue}.{tenant}.{job_id}"


def dead_letter_anywhere(tenant: str, job_id: str) -> str:
    """A tenant's dead letter, whichever queue its job waited in."""
    return f"dlq.*.{tenant}.{job_id}"


def dead_letters_of_tenant(tenant: str) -> str:
    """All of a tenant's dead letters."""
    return f"dlq.*.{tenant}.*"


def recent_subject(tenant: str, digest: str) -> str:
    """Where the job of a request without an id is remembered; `digest` is hexadecimal."""
    return f"recent.{tenant}.{digest}"


def is_flight_key(text: str) -> bool:
    """Whether the text has the form of a request's name; nothing else may enter a subject."""
    return _FLIGHT_KEY.fullmatch(text) is not None


def flight_subject(tenant: str, key: str) -> str:
    """Where it is kept which job calls the model for a request; `key` names it in its tenant."""
    return f"flights.{tenant}.{key}"


def honesty_subject(tenant: str) -> str:
    """Where it is kept how often a tenant's hits in the cache were wrong."""
    return f"honesty.{tenant}"


def readers_subject(tenant: str, job_id: str) -> str:
    """Asks all processes whether they have a reader of a job; who has one answers."""
    return f"readers.{tenant}.{job_id}"


def here_subject(tenant: str, job_id: str) -> str:
    """Answers that there is a reader of a job, or was a moment ago."""
    return f"here.{tenant}.{job_id}"


def left_subject(tenant: str, job_id: str) -> str:
    """Tells a gateway that a process has lost its last reader of a job."""
    return f"left.{tenant}.{job_id}"


def figures_ask_subject(process: str, question: int) -> str:
    """Asks all processes for their figures; `process` is who asks, in hexadecimal."""
    return f"figures.ask.{process}.{question}"


def figures_answers(process: str) -> str:
    """All answers to one process."""
    return f"figures.here.{process}.*"


def figures_answer_subject(question_subject: str) -> str:
    """Where the question of a subject is answered."""
    return question_subject.replace(".ask.", ".here.", 1)


def wake_subject(queue: str) -> str:
    """Tells whoever starts a queue's workers that a job has come."""
    return f"wake.{queue}"


def load_subject(queue: str, worker: str) -> str:
    """Where a worker tells its load of a queue; `worker` names the process, in hexadecimal."""
    return f"load.{queue}.{worker}"


def queue_of_wake(subject: str) -> str:
    """The queue of a `wake_subject`."""
    return subject.partition(".")[2]


def breaker_subject(provider: str, model: str) -> str:
    """Where the state of a (provider, upstream model)'s circuit breaker is kept."""
    return f"$KV.{BREAKERS_BUCKET}.{_key_token(provider)}.{_key_token(model)}"


def breaker_live_subject(provider: str, model: str) -> str:
    """Where that state is heard once it is stored."""
    return f"breaker.{_key_token(provider)}.{_key_token(model)}"


def _key_token(text: str) -> str:
    """Any text as one token of a key: what may not stand in it as `=` and two hex digits a byte."""
    return _NOT_IN_KEYS.sub(lambda found: "".join(f"={b:02x}" for b in found[0].encode()), text)


def tenant_and_job(subject: str) -> tuple[str, str]:
    """The last two tokens of any subject of the list above."""
    _, tenant, job_id = subject.rsplit(".", 2)
    return tenant, job_id
