"""What the keepers of all pools share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.kubernetes_api import KubernetesApi, Object
from tidegate_operator.metrics import OperatorMetrics
from tidegate_operator.registry import Registry
from tidegate_operator.workers import Workers
from tidegate_operator.writes import Writer


@dataclass(frozen=True, slots=True)
class KeeperParts:
    """`template` is the PodTemplateSpec of all pools; `operator` marks the consumers it makes.

    `look_seconds` are between looks at a queue with jobs. `places` bounds how many pools are looked
    at at once. `clock` never goes back; seconds.
    """

    api: KubernetesApi
    jetstream: JetStream
    registry: Registry
    workers: Workers
    writer: Writer
    metrics: OperatorMetrics
    template: Object
    operator: str
    look_seconds: float
    places: asyncio.Semaphore
    clock: Callable[[], float]
