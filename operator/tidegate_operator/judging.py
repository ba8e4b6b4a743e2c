"""Whether a pool may be acted on: pure, from what the cluster holds."""

from tidegate.chassis.kubernetes_api import Object
from tidegate_operator.conditions import Fault, Reason
from tidegate_operator.names import OPERATOR_ANNOTATION
from tidegate_operator.pool import Pool
from tidegate_operator.registry import Key, Registry
from tidegate_operator.writes import owner_of


def fault_of(pool: Pool, registry: Registry, operator: str) -> Fault | None:
    """Why a pool is not kept as it should be; None where all is well. `operator` is who asks."""
    key = Key(pool.namespace, pool.name)
    holder = registry.holder_of(pool.spec.queue)
    if holder is not None and holder != key:
        return Fault(
            Reason.QUEUE_TAKEN,
            f"The queue {pool.spec.queue} is served by the pool {holder.namespace}/{holder.name}, "
            "which comes before it: delete one of the two.",
        )
    deployment = registry.deployments.get(key)
    if not is_own(pool, deployment):
        return name_taken(pool.name, "Deployment")
    keeper = _keeper_of(deployment)
    if keeper not in {"", operator}:
        return Fault(
            Reason.KEPT_BY_ANOTHER,
            f"The operator {keeper} keeps this pool's Deployment, and {operator} sees it too: let "
            "one of them look at this namespace. If that one is no more, hand it over: kubectl "
            f"annotate deployment {pool.name} {OPERATOR_ANNOTATION}-",
        )
    autoscaler = registry.autoscaler_of(key)
    if autoscaler is not None:
        return Fault(
            Reason.FOREIGN_AUTOSCALER,
            f"The HorizontalPodAutoscaler {autoscaler} scales the Deployment {pool.name} too: "
            "delete it, or have it scale the WorkerPool.",
        )
    return None


def _keeper_of(deployment: Object | None) -> str:
    """The operator that has written a Deployment last; empty for none."""
    annotations = {} if deployment is None else deployment["metadata"].get("annotations") or {}
    return str(annotations.get(OPERATOR_ANNOTATION, ""))


def is_own(pool: Pool, deployment: Object | None) -> bool:
    """Whether a Deployment of the pool's name is the pool's, or nobody's, or not there."""
    return deployment is None or owner_of(deployment) in {"", pool.uid}


def name_taken(name: str, kind: str) -> Fault:
    """The fault of a pool whose object of a kind somebody else has made."""
    return Fault(
        Reason.NAME_TAKEN if kind == "Deployment" else Reason.BUDGET_NAME_TAKEN,
        f"There is a {kind} {name} already that is not this pool's: delete it, or give the pool "
        "another name.",
    )
