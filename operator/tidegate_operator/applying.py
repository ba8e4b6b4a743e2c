"""Brings a pool's Deployment and disruption budget in line with what was decided."""

import asyncio
from contextlib import suppress
from typing import Final

from tidegate.chassis.kubernetes_api import ApiServerError, Object
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
# Between two times that others' changes are taken back.
_PEACE_SECONDS: Final = 5.0
# Pods whose cost is written for one change, idlest first, and how many at once.
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
        self._applied_target: int | None = None
        self._taken_back_at = float("-inf")
        self._budget_generation: int | None = None
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
        template, marks = self._parts.template, (self._parts.writer.epoch, self._parts.operator)
        self._deployment = with_marks(deployment_of(pool, template), *marks)
        self._budget = with_marks(disruption_budget_of(pool, template), *marks)
        self._version = version
        self._budget_seen_at = float("-inf")

    async def _write_deployment(self, turn: Turn, target: int) -> None:
        before = turn.replicas
        if turn.current is not None and before == target and self._is_applied(turn.current):
            return
        if turn.current is not None and self._is_fought_over(turn.current, target):
            return
        if before is not None and target < before:
            await self._spare_the_busy(turn)
        spec = self._deployment["spec"] | {"replicas": target}
        written = await self._parts.writer.put(
            DEPLOYMENTS, self._key, self._deployment | {"spec": spec}, turn.current
        )
        self._parts.registry.saw_deployment(written)
        self._applied_generation, self._applied_target = written["metadata"]["generation"], target
        turn.current = self._parts.registry.deployments.get(self._key)
        # A Deployment that is made with no replica is no change of their number.
        if (before or 0) != target:
            # One that could not be told of yet is part of this one.
            first = before or 0 if turn.change is None else turn.change[0]
            turn.change = (first, target)

    def _is_fought_over(self, current: Object, target: int) -> bool:
        """Whether somebody has changed again what was taken back a moment ago.

        Who does that without end is answered every few seconds, and not at once each time.
        """
        applied = _marks(current["metadata"]) == _marks(self._deployment["metadata"])
        if not applied or target != self._applied_target:
            return False
        now = self._parts.clock()
        if now - self._taken_back_at < _PEACE_SECONDS:
            return True
        self._taken_back_at = now
        return False

    def _is_applied(self, current: Object) -> bool:
        metadata = current["metadata"]
        # The epoch first of all: a new leader writes once what the one before may still write.
        if metadata["generation"] != self._applied_generation:
            return False
        # No generation tells of labels and owners.
        if not _has_metadata(current, self._deployment):
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
        if (
            found is None
            or marks.get(INTENT_ANNOTATION) != intent_of(self._budget)
            or found["metadata"]["generation"] != self._budget_generation
            or not _has_metadata(found, self._budget)
        ):
            found = await self._parts.writer.put(BUDGETS, self._key, self._budget, found)
            self._budget_generation = found["metadata"]["generation"]
        self._budget_seen_at = now

    async def _spare_the_busy(self, turn: Turn) -> None:
        """Has Kubernetes take idle pods away first, then those with the fewest jobs.

        Best effort: a busy pod that is taken away all the same drains.
        """
        if turn.pool is None:
            return
        told = self._parts.workers.running_by_host(turn.pool.spec.queue)
        # Whoever may publish may name any pod: only those of this Deployment are written to.
        running = {pod: n for pod, n in told.items() if pod.startswith(f"{self._key.name}-")}
        # What a leader before this one wrote is not known, so that 0 is news too.
        self._costs = {pod: cost for pod, cost in self._costs.items() if pod in running}
        changed = {pod: cost for pod, cost in running.items() if self._costs.get(pod) != cost}
        idlest = sorted(changed, key=lambda pod: changed[pod])[:_MOST_COSTS]
        places = asyncio.Semaphore(_COSTS_AT_ONCE)

        async def write(pod: str) -> None:
            async with places:
                with suppress(ApiServerError):
                    await self._parts.writer.deletion_cost(self._key.namespace, pod, changed[pod])
                    self._costs[pod] = changed[pod]

        results = await asyncio.gather(*(write(pod) for pod in idlest), return_exceptions=True)
        for failed in (each for each in results if isinstance(each, BaseException)):
            raise failed


def _is_own(found: Object, manifest: Manifest) -> bool:
    """Whether an object is the pool's, or was that of one before it of the same name."""
    owner = owner_of(found)
    pool = (found["metadata"].get("labels") or {}).get(POOL_LABEL)
    return owner == owner_of(manifest) or (not owner and pool == manifest["metadata"]["name"])


def _has_metadata(found: Object, manifest: Manifest) -> bool:
    """Whether an object has the labels and the owner that it is to have."""
    labels = found["metadata"].get("labels") or {}
    wanted = manifest["metadata"]["labels"]
    same = all(labels.get(name) == value for name, value in wanted.items())
    return same and owner_of(found) == owner_of(manifest)


def _marks(metadata: Object) -> tuple[object, object]:
    annotations = metadata.get("annotations") or {}
    return annotations.get(INTENT_ANNOTATION), annotations.get(EPOCH_ANNOTATION)
