"""What is so of a pool, in the words of its status: pure, from what was found to conditions.

Ready: as many pods work as were decided on. Active: there are to be any. Degraded: something is
wrong that a person should see to. Paused: the operator decides, and writes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from tidegate_operator.names import DRY_RUN_ANNOTATION, PAUSED_ANNOTATION
from tidegate_operator.pool import Condition, PoolStatus

LONGEST_MESSAGE: Final = 1024


class ConditionType(StrEnum):
    """What a condition is about, in the order of a status."""

    READY = "Ready"
    ACTIVE = "Active"
    DEGRADED = "Degraded"
    PAUSED = "Paused"


class Reason(StrEnum):
    """Why a condition is as it is."""

    # Ready
    AVAILABLE = "Available"
    SCALING = "Scaling"
    SCALED_TO_ZERO = "ScaledToZero"
    # What the pool says is not in force: see Degraded and Paused.
    NOT_APPLIED = "NotApplied"

    # Active
    JOBS_WAIT = "JobsWait"
    JOBS_RUN = "JobsRun"
    # Replicas are kept though nothing is in the queue: a minimum, a pin, a while of waiting.
    STANDBY = "Standby"
    IDLE = "Idle"
    # Jobs wait, and there is to be no replica for them: a pin, or a bound.
    HELD_AT_ZERO = "HeldAtZero"
    NOT_DECIDED = "NotDecided"

    # Degraded
    ALL_IS_WELL = "AllIsWell"
    # An older pool serves the queue.
    QUEUE_TAKEN = "QueueTaken"
    # Somebody else scales the Deployment.
    FOREIGN_AUTOSCALER = "ForeignAutoscaler"
    # A Deployment or a disruption budget of the pool's name is somebody else's.
    NAME_TAKEN = "NameTaken"
    # The disruption budget alone: the Deployment is kept all the same.
    BUDGET_NAME_TAKEN = "BudgetNameTaken"
    # Another operator keeps the Deployment.
    KEPT_BY_ANOTHER = "KeptByAnother"
    INVALID_SPEC = "InvalidSpec"
    NATS_UNREACHABLE = "NatsUnreachable"
    STREAM_MISSING = "StreamMissing"
    # Kubernetes refused a write.
    REFUSED = "Refused"
    # No gateway routes jobs to the queue.
    NO_ROUTE = "NoRoute"
    # Kubernetes cannot make the pods, or none of them gets ready.
    PODS_FAIL = "PodsFail"
    PROVIDER_OUTAGE = "ProviderOutage"

    # Paused
    PAUSED = "PausedByAnnotation"
    DRY_RUN = "DryRunByAnnotation"
    NOT_PAUSED = "NotPaused"


# With these the Deployment is not as the pool says; with others it is held as it is.
_NOT_APPLIED: Final = frozenset(
    {
        Reason.QUEUE_TAKEN,
        Reason.FOREIGN_AUTOSCALER,
        Reason.NAME_TAKEN,
        Reason.KEPT_BY_ANOTHER,
        Reason.INVALID_SPEC,
        Reason.REFUSED,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a pool: a reason of Degraded, and a sentence for a person."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of a pool at one moment.

    `desired` is what the last decision asks for; None before the first. `current` is what the
    Deployment asks for now, `ready` how many of its pods are ready; None where there is no
    Deployment of the pool's. `waiting` and `running` are jobs; None: not known just now.
    """

    fault: Fault | None = None
    desired: int | None = None
    current: int | None = None
    ready: int = 0
    paused: bool = False
    dry_run: bool = False
    outage: bool = False
    no_route: bool = False
    # Why pods are not made, in Kubernetes' words.
    pods_fail: str = ""
    waiting: int | None = None
    running: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a status tells besides. `oldest_seconds` of the oldest job that waits, 0 for none."""

    oldest_seconds: float
    service_seconds: float | None
    tokens_per_job: float | None = None
    usd_per_job: float | None = None
    limiter: str
    reason: str


_Said = tuple[bool | None, Reason, str]


def conditions_of(
    found: Found, previous: Iterable[Condition], generation: int, now: datetime
) -> list[Condition]:
    """All conditions, always in one order. `now` is in UTC.

    The time of a transition stays where the status is what it was in `previous`.
    """
    before = {each.type: each for each in previous}
    said = {
        ConditionType.READY: _ready(found),
        ConditionType.ACTIVE: _active(found),
        ConditionType.DEGRADED: _degraded(found),
        ConditionType.PAUSED: _paused(found),
    }
    conditions = []
    for kind, (holds, reason, message) in said.items():
        status = "Unknown" if holds is None else str(holds)
        was = before.get(kind)
        since = was.last_transition_time if was is not None and was.status == status else now
        conditions.append(
            Condition(
                type=kind.value,
                status=status,
                reason=reason.value,
                message=message[:LONGEST_MESSAGE],
                last_transition_time=since.replace(microsecond=0),
                observed_generation=generation,
            )
        )
    return conditions


def status_of(
    found: Found,
    figures: Figures | None,
    previous: PoolStatus,
    *,
    selector: str | None,
    generation: int,
    now: datetime,
    scaled: bool = False,
) -> PoolStatus:
    """The status of a pool, `figures` None where the operator could not look or decide.

    Then what was remembered of jobs stays, for the leader after this one, and the last reason.
    `selector` is that of the pods; None keeps the one before. `scaled`: the number of replicas was
    changed just now.
    """
    looked = found.waiting is not None and found.running is not None
    told = _told(figures, previous)
    return previous.model_copy(
        update={
            "observed_generation": generation,
            "replicas": found.current or 0,
            "ready_replicas": found.ready,
            "desired_replicas": found.desired,
            "selector": selector or previous.selector,
            "queue_depth": (found.waiting or 0) + (found.running or 0) if looked else None,
            "waiting": found.waiting,
            "running": found.running,
            "last_scale_time": now.replace(microsecond=0) if scaled else previous.last_scale_time,
            "conditions": tuple(conditions_of(found, previous.conditions, generation, now)),
            **told,
        }
    )


def _told(figures: Figures | None, previous: PoolStatus) -> dict[str, object]:
    if figures is None:
        return {"oldest_seconds": None}
    return {
        "oldest_seconds": int(figures.oldest_seconds),
        "service_seconds": _rounded(figures.service_seconds),
        "tokens_per_job": _rounded(figures.tokens_per_job) or previous.tokens_per_job,
        "usd_per_job": _rounded(figures.usd_per_job) or previous.usd_per_job,
        "limiter": figures.limiter,
        "reason": figures.reason[:LONGEST_MESSAGE],
    }


def _rounded(figure: float | None) -> float | None:
    """To three digits: a mean moves all the time, and is not to be a write each time."""
    return None if figure is None else float(f"{figure:.3g}")


def _ready(found: Found) -> _Said:
    current, desired, ready = found.current, found.desired, found.ready
    if found.fault is not None and found.fault.reason in _NOT_APPLIED:
        return False, Reason.NOT_APPLIED, found.fault.message
    if current is None:
        return False, Reason.NOT_APPLIED, "There is no Deployment yet."
    if desired is not None and current != desired and (found.paused or found.dry_run):
        message = f"{_replicas(desired)} would be right, and {current} stay: see Paused."
        return False, Reason.NOT_APPLIED, message
    wanted = current if desired is None else desired
    if ready < wanted:
        return False, Reason.SCALING, f"{ready} of {_replicas(wanted)} ready."
    if wanted == 0:
        return True, Reason.SCALED_TO_ZERO, "No replica is needed."
    return True, Reason.AVAILABLE, f"{ready} of {_replicas(wanted)} ready."


def _active(found: Found) -> _Said:
    waiting, running = found.waiting or 0, found.running or 0
    if found.desired is None:
        return None, Reason.NOT_DECIDED, "Nothing was decided yet."
    if found.desired == 0:
        if waiting:
            return (
                False,
                Reason.HELD_AT_ZERO,
                f"No replica may be there, and {_jobs(waiting)} wait.",
            )
        return False, Reason.IDLE, "Nothing is in the queue."
    if waiting:
        return True, Reason.JOBS_WAIT, "Jobs wait."
    if running:
        return True, Reason.JOBS_RUN, "Jobs run, and none waits."
    return True, Reason.STANDBY, "Replicas are kept, and nothing is known to be in the queue."


def _degraded(found: Found) -> _Said:
    faults = [found.fault] if found.fault is not None else []
    if found.pods_fail:
        faults.append(Fault(Reason.PODS_FAIL, found.pods_fail))
    if found.no_route:
        faults.append(
            Fault(
                Reason.NO_ROUTE,
                "No gateway routes jobs to this queue: name it in the routes file, or delete the "
                "pool if its queue's name is wrong.",
            )
        )
    if found.outage:
        faults.append(
            Fault(
                Reason.PROVIDER_OUTAGE,
                "No provider of the queue's models answers: jobs wait, and more replicas would not "
                "help.",
            )
        )
    if not faults:
        return False, Reason.ALL_IS_WELL, ""
    # What Kubernetes says comes without its full stop.
    message = " ".join(f"{each.message.removesuffix('.')}." for each in faults)
    return True, faults[0].reason, message


def _paused(found: Found) -> _Said:
    for is_so, annotation, reason in (
        (found.paused, PAUSED_ANNOTATION, Reason.PAUSED),
        (found.dry_run, DRY_RUN_ANNOTATION, Reason.DRY_RUN),
    ):
        if is_so:
            message = f"The annotation {annotation} is set: what is decided is not written."
            return True, reason, message
    return False, Reason.NOT_PAUSED, ""


def _replicas(count: int) -> str:
    return f"{count} replica{'' if count == 1 else 's'}"


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"
