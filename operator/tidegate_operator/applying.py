"""Brings a pool's Deployment and disruption budget in line with what was decided."""

import asyncio
from contextlib import suppress
from typing import Final

from tidegate.chassis.kubernetes_api import ApiServerError, GoneError, Object
from tidegate_operator.names import EPOCH_ANNOTATION, INTENT_ANNOTATION, POOL_LABEL
from tidegate_operator.parts import KeeperParts
from tidegate_operator.paths import BUDGETS, DEPLOYMENTS
from tidegate_operator.pool import Pool
from tidegate_operator.registry import Key
from tidegate_operator.turn import Turn
from tidegate_operator.workload import (
    Manifest,
    deployment_of,
    disruption_budget_of,
    intent_of,
    with_marks,
)
from tidegate_operator.writes import NameTakenError, owner_of

# A budget that somebody has taken away is missed that late.
_BUDGET_SECONDS: Final = 120.0
# Pods whose cost is written for one change, busiest first, and how many at once.
_MOST_COSTS: Final = 200
_COSTS_AT_ONCE: Final = 8


class Applying:
    """One pool's objects. What does not change is made once for each version of the pool."""

    def __init__(self, key: Key, parts: KeeperParts) -> None:
        self._key = key
        self._parts = parts
        self._version: tuple[str, int] | None = None
        self._deployment: Manifest = {}
        self._budget: Manifest = {}
        self._applied_generation: int | None = None
        self._budget_seen_at = float("-inf")
        self._costs: dict[str, int] = {}

    async def write(self, turn: Turn, pool: Pool) -> None:
        """Writes what differs, and puts into the turn what that changed.

        Raises:
            InvalidPool: nothing can be made of the pool.
            ConflictError, NameTakenError, NotLeadingError, ApiServerError: as `Writer.put`.
        """
        self._make(pool)
        target = turn.target
        if target is None:
            return
        await self._write_deployment(turn, target)
        await self._write_budget()

    def _make(self, pool: Pool) -> None:
        version = (pool.uid, pool.generation)
        if version == self._version:
            return
        template = self._parts.template
        self._deployment = with_marks(deployment_of(pool, template), self._parts.writer.epoch)
        self._budget = with_marks(disruption_budget_of(pool, template), self._parts.writer.epoch)
        self._version = version
        self._budget_seen_at = float("-inf")

    async def _write_deployment(self, turn: Turn, target: int) -> None:
        before = turn.replicas
        if turn.current is not None and before == target and self._is_applied(turn.current):
            return
        if before is not None and target < before:
            await self._spare_the_busy(turn)
        spec = self._deployment["spec"] | {"replicas": target}
        written = await self._parts.writer.put(
            DEPLOYMENTS, self._key, self._deployment | {"spec": spec}, turn.current
        )
        self._parts.registry.saw_deployment(written)
        self._applied_generation = written["metadata"]["generation"]
        turn.current = self._parts.registry.deployments.get(self._key)
        # A Deployment that is made with no replica is no change of their number.
        if (before or 0) != target:
            turn.change = (before or 0, target)

    def _is_applied(self, current: Object) -> bool:
        metadata = current["metadata"]
        # The epoch first of all: a new leader writes once what the one before may still write.
        if metadata["generation"] != self._applied_generation:
            return False
        return _marks(metadata) == _marks(self._deployment["metadata"])

    async def _write_budget(self) -> None:
        now = self._parts.clock()
        if now - self._budget_seen_at < _BUDGET_SECONDS:
            return
        found = await self._parts.api.get(BUDGETS.path(*self._key))
        marks = {} if found is None else found["metadata"].get("annotations") or {}
        if found is not None and not _is_own(found, self._budget):
            raise NameTakenError(self._budget["kind"])
        if marks.get(INTENT_ANNOTATION) != intent_of(self._budget):
            await self._parts.writer.put(BUDGETS, self._key, self._budget, found)
        self._budget_seen_at = now

    async def _spare_the_busy(self, turn: Turn) -> None:
        """Has Kubernetes take idle pods away first, then those with the fewest jobs.

        Best effort: a busy pod that is taken away all the same drains.
        """
        if turn.pool is None:
            return
        running = self._parts.workers.running_by_host(turn.pool.spec.queue)
        changed = {pod: cost for pod, cost in running.items() if self._costs.get(pod, 0) != cost}
        busiest = sorted(changed, key=lambda pod: -changed[pod])[:_MOST_COSTS]
        places = asyncio.Semaphore(_COSTS_AT_ONCE)

        async def write(pod: str) -> None:
            async with places:
                with suppress(GoneError):
                    await self._parts.writer.deletion_cost(self._key.namespace, pod, changed[pod])

        with suppress(ApiServerError):
            await asyncio.gather(*(write(pod) for pod in busiest))
        self._costs = running


def _is_own(found: Object, manifest: Manifest) -> bool:
    """Whether an object is the pool's, or was that of one before it of the same name."""
    owner = owner_of(found)
    pool = (found["metadata"].get("labels") or {}).get(POOL_LABEL)
    return owner == owner_of(manifest) or (not owner and pool == manifest["metadata"]["name"])


def _marks(metadata: Object) -> tuple[object, object]:
    annotations = metadata.get("annotations") or {}
    return annotations.get(INTENT_ANNOTATION), annotations.get(EPOCH_ANNOTATION)
