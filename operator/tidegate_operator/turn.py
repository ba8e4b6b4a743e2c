"""One look at a pool, from what was found to what was done: filled in as it goes."""

from dataclasses import dataclass

from tidegate.chassis.kubernetes_api import Object
from tidegate_operator.conditions import Fault
from tidegate_operator.pool import Pool, PoolObject
from tidegate_operator.queues import QueueLook
from tidegate_operator.scaling import Decision, Signals
from tidegate_operator.signals import Means


@dataclass(slots=True)
class Turn:
    """`pool` is None where it is not valid, `current` where there is no Deployment of its own.

    `blind`: the queue could not be looked at, so that nothing was decided. `target` is how many
    replicas there are to be; `change` what they were and became. `settles_in` seconds a burst that
    has just begun will be in sight, and nothing is written before: 0 where there is none.
    """

    body: Object
    seen: PoolObject
    pool: Pool | None = None
    fault: Fault | None = None
    current: Object | None = None
    blind: bool = False
    look: QueueLook | None = None
    signals: Signals | None = None
    means: Means | None = None
    decision: Decision | None = None
    target: int | None = None
    change: tuple[int, int] | None = None
    settles_in: float = 0.0

    @property
    def replicas(self) -> int | None:
        """What the Deployment asks for; None where there is none."""
        return None if self.current is None else int(self.current["spec"]["replicas"])

    @property
    def ready(self) -> int:
        """Its pods that are ready."""
        return 0 if self.current is None else int(self.current["status"]["readyReplicas"])

    @property
    def why(self) -> str:
        """Why there are to be so many, as a sentence."""
        if self.decision is not None:
            return self.decision.reason
        return "" if self.fault is None else self.fault.message
