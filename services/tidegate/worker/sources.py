"""Where a job's answer comes from: the cache, another job that asks the same, or the model."""

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.contracts.events import Completed
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.providers.calling import BATCH, INTERACTIVE, Caller, Patience
from tidegate.providers.ledger import Ledger
from tidegate.providers.routes import Routes
from tidegate.worker.answer import Answered
from tidegate.worker.cache_client import Asked, CacheClient, Found, Missed
from tidegate.worker.calls import CallParts, JobCalls, UnledError
from tidegate.worker.course import Course
from tidegate.worker.follower import Follower, FollowParts, Turn
from tidegate.worker.held_job import HeldJob
from tidegate.worker.lead import Lead
from tidegate.worker.leader import Leaders
from tidegate.worker.lease import Free, Lease
from tidegate.worker.replay import replay
from tidegate.worker.storing import AnswerKeeping


class NoRouteError(Exception):
    """The model's route has gone since the job was looked at."""


@dataclass(frozen=True, slots=True)
class CacheParts:
    """What a worker has that asks a cache."""

    client: CacheClient
    storing: AnswerKeeping
    following: FollowParts


@dataclass(frozen=True, slots=True)
class SourceParts:
    """What answers come from; `routes` gives those of now. `cache` None: there is none."""

    caller: Caller
    routes: Callable[[], Routes]
    calls: CallParts
    cache: CacheParts | None


class JobSource:
    """The source of one job's answer. `calls_left` is how many calls for it may fail.

    Let go of it in the end, or have its answer kept.
    """

    def __init__(
        self,
        parts: SourceParts,
        course: Course,
        held: HeldJob,
        job: QueuedJob,
        ledger: Ledger,
        *,
        calls_left: int,
    ) -> None:
        self._parts = parts
        self._course = course
        self._held = held
        self._job = job
        self._ledger = ledger
        self._calls_left = calls_left
        patience = BATCH if held.job_class is JobClass.BATCH else INTERACTIVE
        self._leaders = Leaders(patience.max_wait)
        self._lead = Lead()
        # By what a flight may be taken that landed before the cache was asked.
        self._fence = 0

    async def answer(self, deadline: float) -> Answered:
        """Brings a whole answer into the log, by `deadline` of the loop's clock.

        Raises:
            ProviderError, LeaderFailedError, NoRouteError: there is none.
            ParkedError, StoppedError: not here, and not now.
            FencedError, UnsettledError, OutputTooLongError: what the log raises.
        """
        while True:
            # What an earlier call has said is of no more use to anybody.
            self._lead = Lead()
            asked = await self._ask()
            if isinstance(asked.found, Found):
                answered = await replay(self._course, asked.found)
                self._course.was_in_cache("hit", asked.found.mark.tier)
                return answered
            missed = await self._answer_missed(asked, deadline)
            if missed is not None:
                return missed

    def keep(self, end: Completed) -> None:
        """The log is sealed with a whole answer."""
        lead, self._lead = self._lead, Lead()
        if self._parts.cache is not None:
            self._parts.cache.storing.keep(self._job, end, lead)

    def let_go(self) -> None:
        """Nothing more comes from here: others may call."""
        self._lead.give_up()

    async def _ask(self) -> Asked:
        cache = self._parts.cache
        if cache is None:
            return Asked("", None)
        return await cache.client.lookup(self._job, afresh=self._fence > 0)

    async def _answer_missed(self, asked: Asked, deadline: float) -> Answered | None:
        """None: the cache is to be asked anew."""
        missed = asked.found if isinstance(asked.found, Missed) else None
        turn = await self._turn(missed)
        if isinstance(turn, Answered):
            self._course.was_in_cache("hit", "coalesced")
            return turn
        if isinstance(turn, Free):
            self._fence = turn.fence
            return None
        self._fence = 0
        flights = None if self._parts.cache is None else self._parts.cache.following.flights
        self._lead = Lead(missed, flight=turn.flight, flights=flights)
        answered = await self._call(deadline)
        if answered is not None and asked.outcome:
            self._course.was_in_cache(asked.outcome)
        return answered

    async def _turn(self, missed: Missed | None) -> Answered | Turn | Free:
        cache, job = self._parts.cache, self._job
        if cache is None or missed is None or not missed.key:
            return Turn(None)
        following, key = cache.following, missed.key
        found = await following.flights.acquire(job.tenant, key, job.id, fence=self._fence)
        if isinstance(found, Lease):
            follower = Follower(following, self._course, job, key, self._leaders)
            return await follower.follow(found)
        if isinstance(found, Free):
            return found
        outcome = "alone" if found is None else "led"
        following.metrics.flights.labels(outcome).inc()
        return Turn(found)

    async def _call(self, deadline: float) -> Answered | None:
        routes = self._parts.routes()
        if self._job.model not in routes:
            raise NoRouteError
        calls = JobCalls(
            self._parts.calls,
            self._course,
            self._held,
            self._job,
            self._ledger,
            lead=self._lead,
            left=self._calls_left,
            outdated=lambda: self._parts.routes() is not routes,
        )
        try:
            result = await self._parts.caller.run(
                routes.plan(self._job.model),
                calls.call,
                deadline=deadline,
                patience=Patience(self._leaders.patience_left),
                attempts_left=calls.left,
                on_wait=calls.wait,
            )
        except UnledError:
            self._lead.give_up()
            self._calls_left = calls.left
            return None
        finally:
            calls.close()
        return Answered(result.finish_reasons)
