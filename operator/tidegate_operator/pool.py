"""What a WorkerPool says: its spec, its status, and the bounds of both.

The custom resource definition is generated from these models (`tidegate_operator.crd`), so a type,
a default, a bound or a description is written here and nowhere else. A law that no schema can say
stands twice, side by side: in CEL for the API server, which refuses an object before it is stored,
and in Python for objects that got past it, as one may that was stored under an older definition.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.subjects import check_name
from tidegate_operator.names import DRY_RUN_ANNOTATION, PAUSED_ANNOTATION
from tidegate_operator.pool_template import Given, KubernetesModel, PodTemplate, rule

MOST_REPLICAS: Final = 1000
LONGEST_NAME: Final = 63  # of a label's value, which a pool's name becomes

_BAD_QUEUE: Final = (
    "the name of a queue is 1 to 63 of a-z, 0-9, '-' and '_', and begins with a letter or a digit"
)
_QUEUE_STAYS: Final = (
    "the queue of a pool cannot be changed: make another pool for the other queue, then delete "
    "this one"
)
_MIN_UP_TO_MAX: Final = "minReplicas is above maxReplicas: lower minReplicas or raise maxReplicas"


class InvalidPool(ValueError):
    """A WorkerPool that says what cannot be done. The text names each field and what is wrong."""


def _is_queue(name: str) -> str:
    try:
        return check_name(name, "queue")
    except InvalidRequest as error:
        raise ValueError(_BAD_QUEUE) from error


class Scaling(Given):
    """What the number of replicas is worked out with."""

    utilization: float = Field(
        0.8,
        ge=0.1,
        le=1,
        description="Share of the replicas' concurrency to plan for; the rest is for peaks.",
    )
    cold_start_seconds: float = Field(
        10.0, ge=0, description="Seconds from the decision for one more pod until it works."
    )
    service_seconds: float = Field(
        10.0, gt=0, description="Seconds that a job runs, until the workers have told how long."
    )
    scale_in_seconds: float = Field(
        60.0,
        ge=0,
        description=(
            "Seconds for which fewer replicas must have been enough before any is taken away."
        ),
    )


class Limits(Given):
    """What the pool may use at most, whatever waits. Absent: as much as maxReplicas can."""

    tokens_per_second: float | None = Field(
        None,
        gt=0,
        description="Output tokens a second that the provider allows to the whole pool.",
    )
    usd_per_hour: float | None = Field(
        None, gt=0, description="US dollars an hour that the pool's answers may cost."
    )


class PoolSpec(Given):
    """One queue's workers: what they serve, and how many there may be."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "self.minReplicas <= self.maxReplicas",
            _MIN_UP_TO_MAX,
            fieldPath=".minReplicas",
        )
    )

    queue: Annotated[str, AfterValidator(_is_queue)] = Field(
        max_length=63,
        description="The queue that the pool's workers serve. It cannot be changed.",
        json_schema_extra={
            "x-kubernetes-validations": [
                {"rule": "self.matches('^[a-z0-9][a-z0-9_-]{0,62}$')", "message": _BAD_QUEUE},
                {"rule": "self == oldSelf", "message": _QUEUE_STAYS},
            ]
        },
    )
    replicas: int | None = Field(
        None,
        ge=0,
        le=MOST_REPLICAS,
        description=(
            "A pin, as `kubectl scale` sets it: exactly so many, whatever waits and whatever else "
            "this object says. Absent: the operator decides."
        ),
    )
    min_replicas: int = Field(
        0, ge=0, le=MOST_REPLICAS, description="Replicas that are there when nothing waits."
    )
    max_replicas: int = Field(
        10, ge=1, le=MOST_REPLICAS, description="Replicas at most, however much waits."
    )
    concurrency: int = Field(
        64,
        ge=2,
        le=4096,
        description=(
            "Jobs that one replica runs at once. An eighth, at least one, is kept for batch jobs."
        ),
    )
    objective_seconds: float = Field(
        30.0, gt=0, description="Seconds that a job should wait at most before it runs."
    )
    drain_seconds: int = Field(
        60,
        ge=0,
        le=86_400,
        description=(
            "Seconds that a pod has for the answers under way when it is taken away; what is left "
            "is handed to another. At least as long as the longest answer that is not to be asked "
            "for twice."
        ),
    )
    scaling: Scaling = Field(
        default_factory=Scaling, description="What the number of replicas is worked out with."
    )
    limits: Limits = Field(
        default_factory=Limits, description="What the pool may use at most, whatever waits."
    )
    template: PodTemplate | None = Field(
        None,
        description=(
            "What is different in the pods of this pool, as a part of a pod template. It is merged "
            "over the template of the installation: maps key by key, lists of named things "
            "(containers, env, volumes, mounts, ports) one by one; other lists are replaced. "
            "{$patch: delete} in place of a value takes it away, and so does null, which "
            "`kubectl apply` drops unless it is called with --server-side."
        ),
    )

    @model_validator(mode="after")
    def _min_up_to_max(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(_MIN_UP_TO_MAX)
        return self

    @property
    def pod_overrides(self) -> dict[str, Any]:
        """The template as it was written, nulls included; empty where there is none."""
        return self.template.model_dump(by_alias=True, exclude_unset=True) if self.template else {}


class Condition(KubernetesModel):
    """One thing that is so, is not so, or is not known."""

    type: str = Field(description="What it is about.")
    status: str = Field(description="True, False or Unknown.")
    reason: str = Field("", description="Why, in one word for machines.")
    message: str = Field("", description="Why, in words.")
    last_transition_time: datetime = Field(description="When the status became what it is.")
    observed_generation: int | None = Field(
        None, description="The generation of the pool that it was said of."
    )


class PoolStatus(KubernetesModel):
    """What the operator saw last, and what it made of it."""

    observed_generation: int | None = Field(
        None, description="The generation of the pool that this is about."
    )
    replicas: int = Field(0, description="Replicas that the Deployment asks for now.")
    ready_replicas: int = Field(0, description="Pods that are ready.")
    desired_replicas: int | None = Field(
        None, description="Replicas that the last decision asks for."
    )
    selector: str | None = Field(None, description="Selects the pods of the pool; for /scale.")
    queue_depth: int | None = Field(
        None, description="Jobs in the queue, waiting or running. Absent: not known just now."
    )
    waiting: int | None = Field(None, description="Jobs that wait.")
    running: int | None = Field(None, description="Jobs that run.")
    oldest_seconds: int | None = Field(
        None, description="Seconds that the oldest of those that wait has waited."
    )
    service_seconds: float | None = Field(None, description="Seconds that a job runs, on average.")
    tokens_per_job: float | None = Field(None, description="Output tokens of a job, on average.")
    usd_per_job: float | None = Field(None, description="US dollars of a job, on average.")
    limiter: str | None = Field(None, description="What bounds the number of replicas, if any.")
    reason: str | None = Field(None, description="The last decision, in words.")
    last_scale_time: datetime | None = Field(
        None, description="When the number of replicas was changed last."
    )
    conditions: tuple[Condition, ...] = Field(
        (),
        description="Ready, Active, Degraded, Paused.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )

    def as_object(self) -> dict[str, Any]:
        """The status as Kubernetes has it, without what is not known."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolObject:
    """What can be said of any WorkerPool, valid or not. `created` is in UTC."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created: datetime
    status: PoolStatus
    paused: bool
    dry_run: bool
    deleting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(PoolObject):
    """A WorkerPool that can be acted on."""

    spec: PoolSpec


def parse_object(body: Mapping[str, Any]) -> PoolObject:
    """What Kubernetes itself vouches for, and of the status whatever can be read.

    Raises InvalidPool where that is missing, which no API server sends.
    """
    metadata = body.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    try:
        return PoolObject(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            generation=int(metadata.get("generation", 0)),
            created=_TIME.validate_python(metadata["creationTimestamp"]).astimezone(UTC),
            status=parse_status(body.get("status")),
            paused=_is_true(annotations.get(PAUSED_ANNOTATION)),
            dry_run=_is_true(annotations.get(DRY_RUN_ANNOTATION)),
            deleting=metadata.get("deletionTimestamp") is not None,
        )
    except KeyError as error:
        raise InvalidPool(f"metadata.{error.args[0]}: is required") from error
    except ValueError as error:
        raise InvalidPool("metadata: is not what an API server writes") from error


def parse_pool(body: Mapping[str, Any]) -> Pool:
    """The pool that an object of the Kubernetes API describes. Raises InvalidPool."""
    known = parse_object(body)
    spec = parse_spec(body.get("spec"))
    fields = {field.name: getattr(known, field.name) for field in dataclass_fields(known)}
    return Pool(spec=spec, **fields)


def parse_spec(spec: object) -> PoolSpec:
    """The spec of a WorkerPool, as in its manifest. Raises InvalidPool."""
    if not isinstance(spec, Mapping):
        raise InvalidPool("spec: is required")
    try:
        return PoolSpec.model_validate(dict(spec))
    except ValidationError as error:
        raise InvalidPool(_in_words(error)) from error


def parse_status(status: object) -> PoolStatus:
    """Whatever can be read of a status; a field that cannot is as if it were absent."""
    readable = dict(status) if isinstance(status, Mapping) else {}
    while True:
        try:
            return PoolStatus.model_validate(readable)
        except ValidationError as error:
            for each in error.errors(include_input=False, include_url=False):
                readable.pop(str(each["loc"][0]), None)


_TIME: Final = TypeAdapter(datetime)


def _is_true(annotation: object) -> bool:
    return str(annotation).strip().lower() == "true"


def _in_words(error: ValidationError) -> str:
    """Each field and what is wrong with it; of a value no more than a number."""
    return "; ".join(
        f"{_path('spec', each['loc'])}: {_what(each['msg'])}{_given(each['input'])}"
        for each in error.errors(include_url=False)
    )


def _path(root: str, location: Iterable[int | str]) -> str:
    return root + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)


def _what(message: str) -> str:
    said = message.removeprefix("Value error, ").removeprefix("Input ").removeprefix("Field ")
    return "is required" if said == "required" else said


def _given(value: object) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f", not {value}" if is_number else ""
