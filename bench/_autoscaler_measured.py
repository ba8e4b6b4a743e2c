"""What KEDA 2.21.0 and the HPA of Kubernetes 1.36 did on a real node, which the model must do too.

A queue at zero replicas got 400 jobs at once; `lagThreshold` was 8, `maxReplicaCount` 50, all else
as it comes. Free to choose here: when the first poll and sync come after the burst, which fixes the
19 s and the 34 s, the cold start, and how long a job runs, which fixes how long after a poll the
queue is empty. All other figures are then the rules' own.
"""

from dataclasses import dataclass
from typing import Final

from bench._autoscaler_keda import Keda, KedaRules
from bench._autoscaler_traces import measured_burst
from bench._autoscaler_world import World

_CONCURRENCY: Final = 8
_COLD_START: Final = 4.0


@dataclass(frozen=True, slots=True)
class Course:
    """Seconds after the burst: (when, replicas) on the way up; when all of them worked. And
    `zero_after` seconds after the queue was empty there were none again."""

    steps: tuple[tuple[float, int], ...]
    ready: float
    zero_after: float


MEASURED: Final = Course(
    steps=((19, 1), (34, 4), (49, 8), (64, 16), (79, 32), (94, 50)), ready=98, zero_after=282
)


def modelled() -> Course:
    """The same by the model."""
    rules = KedaRules(lag_threshold=8, max_replicas=50, first_poll=19.0, first_sync=4.0)
    world = World(measured_burst(), Keda(rules), _CONCURRENCY, _COLD_START)
    world.run()
    changes = world.changes[1:]
    peak = max(replicas for _, replicas in changes)
    up = changes[: 1 + next(at for at, (_, replicas) in enumerate(changes) if replicas == peak)]
    gone = next(at for at, replicas in changes if replicas == 0)
    return Course(tuple(up), max(world.ready_at), gone - world.last_end)


def show_agreement() -> bool:
    """Prints both courses; whether they are the same."""
    model = modelled()
    print("\nKEDA 2.21.0 and HPA 1.36, 400 jobs at zero, on a real node and by the model")
    for name, course in (("real node", MEASURED), ("model", model)):
        steps = ", ".join(f"{replicas} at {at:g} s" for at, replicas in course.steps)
        print(
            f"  {name}: {steps}; ready at {course.ready:g} s; "
            f"zero {course.zero_after:g} s after the queue was empty"
        )
    return model == MEASURED
