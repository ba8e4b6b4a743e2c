"""Names that the operator shares with Kubernetes, the chart and the workers, each declared once."""

from typing import Final

GROUP: Final = "tidegate.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "WorkerPool"
PLURAL: Final = "workerpools"

PAUSED_ANNOTATION: Final = f"{GROUP}/paused"
DRY_RUN_ANNOTATION: Final = f"{GROUP}/dryRun"
INTENT_ANNOTATION: Final = f"{GROUP}/intent"
# Which operator keeps it: the mark that its consumers carry too.
OPERATOR_ANNOTATION: Final = f"{GROUP}/operator"
EPOCH_ANNOTATION: Final = f"{GROUP}/epoch"
SCHEMA_ANNOTATION: Final = f"{GROUP}/schema"

POOL_LABEL: Final = f"{GROUP}/pool"
NAME_LABEL: Final = "app.kubernetes.io/name"
INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
COMPONENT_LABEL: Final = "app.kubernetes.io/component"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
# What a Deployment selects its pods by, so that no template may change it.
SELECTOR_LABELS: Final = (POOL_LABEL, NAME_LABEL, INSTANCE_LABEL, COMPONENT_LABEL)

QUEUES_ENV: Final = "TIDEGATE_QUEUES"
CONCURRENCY_ENV: Final = "TIDEGATE_WORKER_CONCURRENCY"
DRAIN_ENV: Final = "TIDEGATE_DRAIN_SECONDS"
OWN_ENV: Final = (QUEUES_ENV, CONCURRENCY_ENV, DRAIN_ENV)
# A pod's grace is longer than its drain by this, for the end of the process itself.
GRACE_BEYOND_DRAIN: Final = 10

FIELD_MANAGER: Final = "tidegate-operator"
