"""What a pool may say of its pods: a part of a pod template, of which little is known here.

Whatever Kubernetes knows passes through untouched, so that no release of Kubernetes needs one of
Tidegate. Known is what lists are merged by, and what is the operator's own to say.
"""

from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tidegate_operator.names import GRACE_BEYOND_DRAIN, OWN_ENV, SELECTOR_LABELS

# The API server refuses a name twice, and knows whose each item is.
_BY_NAME: Final[dict[str, Any]] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
_OWN_ENV: Final = (
    f"the operator sets {', '.join(OWN_ENV[:-1])} and {OWN_ENV[-1]} itself: use spec.queue, "
    "spec.concurrency and spec.drainSeconds"
)
_OWN_GRACE: Final = (
    "the operator sets terminationGracePeriodSeconds itself: use spec.drainSeconds; the grace is "
    f"{GRACE_BEYOND_DRAIN} seconds more"
)
# Else whoever may write pools could have pods of any account, with its token.
_OWN_ACCOUNT: Final = (
    "the pods of all pools have the service account of the installation, and no token of it: use "
    "worker.serviceAccount of the chart"
)
_OWN_LABELS: Final = (
    f"the Deployment selects its pods by {', '.join(SELECTOR_LABELS[:-1])} and "
    f"{SELECTOR_LABELS[-1]}: a template cannot set them"
)


def rule(rule: str, message: str, **more: str) -> dict[str, Any]:
    """What a field or a model says in `json_schema_extra` to have one rule in CEL."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message, **more}]}


class KubernetesModel(BaseModel):
    """Written in camelCase by Kubernetes and people; what a newer schema adds is passed over."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        allow_inf_nan=False,
    )


class Given(KubernetesModel):
    """What people write: a number is a number, never a text that looks like one."""

    model_config = ConfigDict(strict=True)


class _Part(Given):
    """A part of a pod's template: the fields that the operator cares for. All others are kept."""

    model_config = ConfigDict(extra="allow")


def _is_free_env(name: str) -> str:
    if name in OWN_ENV:
        raise ValueError(_OWN_ENV)
    return name


def _are_free_labels(labels: dict[str, str | None]) -> dict[str, str | None]:
    if not labels.keys().isdisjoint(SELECTOR_LABELS):
        raise ValueError(_OWN_LABELS)
    return labels


def _no_grace(seconds: int | None) -> int | None:
    if seconds is not None:
        raise ValueError(_OWN_GRACE)
    return seconds


def _no_account(_: object) -> object:
    """Called for what is written alone; null would take away what the installation says."""
    raise ValueError(_OWN_ACCOUNT)


_Named = TypeVar("_Named", bound="EnvVar | Container")


def _each_once(items: list[_Named]) -> list[_Named]:
    names = [each.name for each in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is there more than once")
    return items


class EnvVar(_Part):
    """An environment variable, as in a container."""

    name: Annotated[str, AfterValidator(_is_free_env)] = Field(
        max_length=256,
        description="Its name.",
        json_schema_extra=rule(f"!(self in {list(OWN_ENV)})", _OWN_ENV),
    )


class Container(_Part):
    """A container, as in a pod; merged over the one of the same name."""

    name: str = Field(max_length=63, description="Its name, by which it is merged.")
    env: Annotated[list[EnvVar], AfterValidator(_each_once)] | None = Field(
        None,
        max_length=1000,
        description="Its environment; merged by name.",
        json_schema_extra=_BY_NAME,
    )


class PodSpec(_Part):
    """What pods of the pool have besides what the operator gives them, as in a pod's spec."""

    containers: Annotated[list[Container], AfterValidator(_each_once)] | None = Field(
        None,
        max_length=32,
        description="Containers; merged by name. The worker's is `worker`.",
        json_schema_extra=_BY_NAME,
    )
    init_containers: Annotated[list[Container], AfterValidator(_each_once)] | None = Field(
        None,
        max_length=32,
        description="Init containers; merged by name.",
        json_schema_extra=_BY_NAME,
    )
    termination_grace_period_seconds: Annotated[int | None, AfterValidator(_no_grace)] = Field(
        None,
        description="Not to be set: it is `drainSeconds` and 10 seconds more.",
        json_schema_extra=rule("false", _OWN_GRACE),
    )
    service_account_name: Annotated[str | None, AfterValidator(_no_account)] = Field(
        None,
        description="Not to be set: it is that of the installation.",
        json_schema_extra=rule("false", _OWN_ACCOUNT),
    )
    service_account: Annotated[str | None, AfterValidator(_no_account)] = Field(
        None,
        description="Not to be set, as serviceAccountName.",
        json_schema_extra=rule("false", _OWN_ACCOUNT),
    )
    automount_service_account_token: Annotated[bool | None, AfterValidator(_no_account)] = Field(
        None,
        description="Not to be set: no pod of a pool has a token.",
        json_schema_extra=rule("false", _OWN_ACCOUNT),
    )


class PodMetadata(_Part):
    """Labels and annotations that pods of the pool have besides."""

    labels: Annotated[dict[str, str | None], AfterValidator(_are_free_labels)] | None = Field(
        None,
        description="Labels. Those that the Deployment selects its pods by cannot be set.",
        json_schema_extra=rule(
            f"{list(SELECTOR_LABELS)}.all(label, !(label in self))", _OWN_LABELS
        ),
    )


class PodTemplate(Given):
    """What is different in the pods of this pool."""

    metadata: PodMetadata | None = Field(None, description="Their labels and annotations.")
    spec: PodSpec | None = Field(None, description="Their spec, as far as it is different.")
