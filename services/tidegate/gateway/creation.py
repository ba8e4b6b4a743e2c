"""Creating a job: checked, then one fenced write, settled when its acknowledgement is lost."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from tidegate.chassis.backoff import Backoff
from tidegate.chassis.jetstream import (
    EXPECTED_LAST_SUBJECT_SEQUENCE,
    STORE_FULL,
    WRONG_LAST_SEQUENCE,
    WRONG_LAST_SEQUENCE_UNKNOWN,
    JetStream,
    JetStreamError,
    NoAnswerError,
    NotSentError,
    RefusedError,
    TooLargeError,
)
from tidegate.chassis.keyring import Caller
from tidegate.chassis.tracing import inject
from tidegate.contracts.chat import Chat, canonical_chat
from tidegate.contracts.errors import (
    FailedPrecondition,
    InvalidRequest,
    Reason,
    RequestIdConflict,
    RequestTooLarge,
    ResourceExhausted,
    TidegateError,
    Unavailable,
)
from tidegate.contracts.extra import require_offered
from tidegate.contracts.fold import Fold
from tidegate.contracts.jobs import (
    JobClass,
    JobView,
    OnDisconnect,
    QueuedJob,
    encode_job,
    hash_request,
    job_id_for,
    new_job_id,
    view,
)
from tidegate.contracts.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT, job_anywhere
from tidegate.eventlog.head import read_head
from tidegate.eventlog.lookup import FoundJob, find_job, view_job
from tidegate.gateway.limits import Admission, queue_full
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.offers import route_of
from tidegate.providers.routes import Routes

LONGEST_REQUEST_ID: Final = 128  # bytes
SHORTEST_TTL_SECONDS: Final = 1.0

# Of a message: its headers, the envelope and a margin for what a later release adds to it.
_ENVELOPE_BYTES: Final = 16 * 1024
_REPEATED: Final = frozenset({WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_UNKNOWN})
_BACKOFF: Final = Backoff(0.02, 0.5)


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a caller asks for. `chat_field` is where the chat stands in the caller's request.

    `job_id` is the job's id where it was chosen before; `again` says that a job of it may be there.
    """

    chat: Chat
    request_id: str = ""
    job_id: str = ""
    again: bool = False
    job_class: JobClass = JobClass.INTERACTIVE
    ttl_seconds: float | None = None
    ttl_field: str = "ttl"
    chat_field: str = ""
    on_disconnect: OnDisconnect = "detach"


@dataclass(frozen=True, slots=True)
class CreateLimits:
    """Seconds: a job's time to live by default and at most, and how long to settle a create."""

    default_ttl: float
    max_ttl: float
    settle: float


def request_bound(max_payload: int) -> int:
    """Bytes that a request may have where JetStream takes messages of `max_payload`."""
    return max(max_payload - _ENVELOPE_BYTES, 0)


class Creator:
    """Creates jobs. `clock` gives seconds since the epoch, `max_payload` the server's bound.

    `on_accepted` hears of each new job, with its time of creation in milliseconds.
    """

    def __init__(
        self,
        jetstream: JetStream,
        routes: Callable[[], Routes],
        admission: Admission,
        *,
        limits: CreateLimits,
        max_payload: Callable[[], int],
        on_accepted: Callable[[QueuedJob, int], None],
        metrics: GatewayMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._jetstream = jetstream
        self._routes = routes
        self._admission = admission
        self._limits = limits
        self._max_payload = max_payload
        self._on_accepted = on_accepted
        self._metrics = metrics
        self._accepts = metrics.creates.labels("accepted")
        self._clock = clock

    async def create(self, caller: Caller, new: NewJob) -> JobView:
        """The accepted job, or the one that this request id already made.

        A new job's `created_ms` is this process's clock; later reads give JetStream's.

        Raises:
            InvalidRequest, NotFound: what is asked can never be accepted.
            RequestIdConflict, FailedPrecondition: the request id is taken, or its job deleted.
            ResourceExhausted: there is no room now.
            Unavailable: not accepted; or with CREATE_UNKNOWN and the job's id, not known.
        """
        repeatable = new.again or bool(new.request_id)
        return await self._take_in(self._prepare(caller, new), repeatable=repeatable)

    async def replay(self, caller: Caller, old: QueuedJob, request_id: str) -> JobView:
        """A job that asks once more what `old` asked, or the one that this request id already made.

        Raises:
            NotFound: its model has no route any more.
            FailedPrecondition, ResourceExhausted, Unavailable: as `create`.
        """
        route = route_of(self._routes(), old.model, "chat", field="model")
        again = msgspec.structs.replace(
            old,
            id=job_id_for(caller.tenant, request_id),
            key_id=caller.key_id,
            queue=route.queue,
            # Nobody waits for it where the job was first asked for: it may wait for its provider.
            job_class=JobClass.BATCH,
            request_hash=hash_request(JobClass.BATCH, bytes(old.request)),
            traceparent=_traceparent(),
            on_disconnect="detach",
            replay_of=old.id,
        )
        return await self._take_in(again, repeatable=True)

    async def _take_in(self, job: QueuedJob, *, repeatable: bool) -> JobView:
        try:
            known = await self._known(job) if repeatable else None
            if known is None:
                return await self._admit_and_store(job, repeatable=repeatable)
            return self._repeated(known)
        except TidegateError as error:
            self._metrics.creates.labels(error.reason.value).inc()
            raise

    # Checking.

    def _prepare(self, caller: Caller, new: NewJob) -> QueuedJob:
        _check_request_id(new.request_id)
        ttl = self._ttl(new)
        field = f"{new.chat_field}.model".lstrip(".")
        route = route_of(self._routes(), new.chat.model, "chat", field=field)
        require_offered(new.chat.extra, route.extra_body, path=new.chat_field)
        canonical = canonical_chat(new.chat)
        bound = request_bound(self._max_payload())
        if len(canonical) > bound:
            raise too_large(bound)
        named = job_id_for(caller.tenant, new.request_id) if new.request_id else new.job_id
        return QueuedJob(
            id=named or new_job_id(),
            tenant=caller.tenant,
            key_id=caller.key_id,
            queue=route.queue,
            job_class=new.job_class,
            ttl_ms=round(ttl * 1000),
            model=new.chat.model,
            request_hash=hash_request(new.job_class, canonical),
            request=msgspec.Raw(canonical),
            traceparent=_traceparent(),
            on_disconnect=new.on_disconnect,
        )

    def _ttl(self, new: NewJob) -> float:
        if new.ttl_seconds is None:
            return self._limits.default_ttl
        if not SHORTEST_TTL_SECONDS <= new.ttl_seconds <= self._limits.max_ttl:
            raise InvalidRequest(
                f"{new.ttl_field} must be from {SHORTEST_TTL_SECONDS:g} to "
                f"{self._limits.max_ttl:g} seconds",
                field=new.ttl_field,
            )
        return new.ttl_seconds

    # Storing.

    async def _known(self, job: QueuedJob) -> JobView | None:
        """The job, where its log has begun: it may have left the queue, and with it the fence."""
        try:
            head = await read_head(self._jetstream, job.tenant, job.id)
        except (NoAnswerError, RefusedError) as error:
            raise unavailable() from error
        return None if head.line is None else await self._existing(job)

    async def _admit_and_store(self, job: QueuedJob, *, repeatable: bool) -> JobView:
        try:
            await self._admission.admit(job.tenant, job.queue, job.job_class)
        except ResourceExhausted:
            # A job that is there already needs no room.
            known = await self._existing(job) if repeatable else None
            if known is None:
                raise
            return self._repeated(known)
        return await self._store(job, repeatable=repeatable)

    async def _store(self, job: QueuedJob, *, repeatable: bool) -> JobView:
        payload = encode_job(job)
        headers = {
            EXPECTED_LAST_SUBJECT_SEQUENCE: "0",
            EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: job_anywhere(job.tenant, job.id),
        }
        give_up_at = self._clock() + self._limits.settle
        unknown = False
        tries = 0
        while True:
            try:
                await self._jetstream.publish(job.subject, payload, headers)
                older = await self._ended_meanwhile(job) if repeatable else None
                return older or self._accepted(job)
            except TooLargeError as error:
                raise too_large(request_bound(self._max_payload())) from error
            except RefusedError as error:
                known = await self._in_the_way(job, error, unknown=unknown)
                if known is not None:
                    return known
            except NotSentError as error:
                if not unknown:
                    raise unavailable() from error
            except NoAnswerError:
                unknown = True
            if self._clock() >= give_up_at:
                raise _outcome_unknown(job.id) if unknown else unavailable()
            await self._pause(tries)
            tries += 1

    def _accepted(self, job: QueuedJob) -> JobView:
        created_ms = int(self._clock() * 1000)
        self._count_in(job, created_ms)
        return view(job.summary(created_ms), Fold(), with_answer=False)

    def _repeated(self, known: JobView) -> JobView:
        self._metrics.creates.labels("repeated").inc()
        return known

    def _count_in(self, job: QueuedJob, created_ms: int) -> None:
        self._admission.admitted(job.tenant, job.queue, job.job_class)
        self._accepts.inc()
        self._on_accepted(job, created_ms)

    async def _ended_meanwhile(self, job: QueuedJob) -> JobView | None:
        """The job of this request id that ended between the look at its log and our publish.

        The fence does not know of it, for its message has left the queue; ours will not be run.

        Raises:
            NoAnswerError: it cannot be told now; what was published is stored.
        """
        try:
            head = await read_head(self._jetstream, job.tenant, job.id)
        except JetStreamError as error:
            # NotSentError among them would say that nothing was stored.
            raise NoAnswerError(str(error)) from error
        if head.line is None or head.line.job is None:
            return None
        return self._repeated(await self._view(FoundJob(job.tenant, head.line.job, head), job))

    async def _in_the_way(
        self, job: QueuedJob, error: RefusedError, *, unknown: bool
    ) -> JobView | None:
        """The job that a refused publish met; None where it cannot be seen, or the refusal passes.

        With `unknown`, an earlier try of the same create may have stored it.

        Raises:
            TidegateError: the refusal, where nothing is there and no try is unsettled.
        """
        if error.code not in _REPEATED:
            if unknown:
                return None
            raise _refusal(error) from error
        try:
            known = await self._existing(job)
        except Unavailable:
            return None
        if known is None:
            return None
        if not unknown:
            return self._repeated(known)
        self._count_in(job, known.created_ms)
        return known

    async def _existing(self, job: QueuedJob) -> JobView | None:
        try:
            found = await find_job(self._jetstream, job.tenant, job.id)
        except (NoAnswerError, RefusedError) as error:
            raise unavailable() from error
        return None if found is None else await self._view(found, job)

    async def _view(self, found: FoundJob, job: QueuedJob) -> JobView:
        _require_same(found, job)
        return await view_job(self._jetstream, found)

    async def _pause(self, tries: int) -> None:
        self._metrics.settles.inc()
        await _BACKOFF.pause(tries)


def _check_request_id(request_id: str) -> None:
    try:
        size = len(request_id.encode())
    except UnicodeEncodeError:
        raise InvalidRequest("request_id is not UTF-8", field="request_id") from None
    if size > LONGEST_REQUEST_ID:
        raise InvalidRequest(
            f"request_id is longer than {LONGEST_REQUEST_ID} bytes", field="request_id"
        )


def _require_same(found: FoundJob, job: QueuedJob) -> None:
    if found.summary.request_hash != job.request_hash:
        raise RequestIdConflict(
            "this request_id was used with another request", field="request_id", job_id=job.id
        )
    if found.head.deleted:
        raise FailedPrecondition(
            "the job of this request_id was deleted",
            reason=Reason.JOB_DELETED,
            field="request_id",
            job_id=job.id,
        )


def too_large(bound: int) -> RequestTooLarge:
    """The refusal of a request over the bound, which it names in bytes."""
    return RequestTooLarge(f"the request is larger than {bound} bytes")


def unavailable() -> Unavailable:
    """The refusal while JetStream does not answer; nothing was stored by it."""
    return Unavailable("the job store does not answer", retry_after=1.0)


def _outcome_unknown(job_id: str) -> Unavailable:
    return Unavailable(
        "whether the job was accepted is not known: repeat with the same request_id, or look for "
        f"{job_id}",
        reason=Reason.CREATE_UNKNOWN,
        retry_after=1.0,
        job_id=job_id,
    )


def _refusal(error: RefusedError) -> TidegateError:
    return queue_full() if error.code == STORE_FULL else unavailable()


def _traceparent() -> str:
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent", "")
