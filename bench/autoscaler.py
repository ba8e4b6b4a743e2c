"""Load traces through the operator's own decision, beside the rules of KEDA and the HPA.

    make bench-autoscaler                # all of it, and the pictures of docs/images
    python -m bench.autoscaler --traces burst,outage

All of it is simulated (bench._autoscaler_world): one queue, pods with a cold start and slots, jobs
that run for a while, in simulated time, without a random number that is not seeded. What decides
is not: Tidegate's side calls `tidegate_operator.scaling.decide` with what the operator would see.

The sides get the same jobs, pods, slots, cold start and maximum:

- tidegate: a pool with its defaults, and an objective of 30 s.
- keda: KEDA and the HPA with theirs, a `lagThreshold` of as many jobs as a pod runs at once. The
  rules are in bench._autoscaler_keda, with their sources. First of all it is compared with what
  both did on a real node: figures that differ there would be worth nothing here.
- keda-tuned: the same with `pollingInterval: 5`, `cooldownPeriod: 60`, and a `behavior` that adds
  all pods at once and takes them away after 60 s. The 15 s between two looks of the HPA belong to
  the control plane.

Of each trace: the age of the jobs as they left the queue, p95 and the highest (seconds from when a
job came until the attempt began that answered it); jobs that were older than the objective then;
pod-minutes (from when a pod was asked for until it was gone); how often the number of replicas was
changed, and the most that were asked for.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench._autoscaler_measured import show_agreement
from bench._autoscaler_rounds import SIDES, Round, Setting, replay
from bench._autoscaler_traces import SERVICE_SECONDS, traces
from bench._child import table
from bench._machine import describe
from bench._options import amount, count, some_of

_TRACES: Final = {trace.name: trace for trace in traces()}
_COLUMNS: Final = ("side", "p95 age s", "oldest s", "late", "pod-minutes", "changes", "peak")


def show(rounds: Sequence[Round]) -> None:
    """A table of each trace."""
    for name in dict.fromkeys(found.trace.name for found in rounds):
        some = [found for found in rounds if found.trace.name == name]
        jobs = len(some[0].ages)
        table(f"{name}: {some[0].trace.title}; {jobs:,} jobs", _COLUMNS, map(_row, some))
        if some[0].trace.outage is not None:
            peaks = ", ".join(f"{found.side.name} {found.peak_in_outage}" for found in some)
            print(f"  peak while the provider was out: {peaks}")


def _row(found: Round) -> Sequence[str]:
    return (
        found.side.name,
        f"{found.p95:.1f}",
        f"{found.oldest:.1f}",
        f"{found.late:,}",
        f"{found.pod_minutes:,.0f}",
        f"{len(found.changes) - 1:,}",
        f"{found.peak}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--traces", type=some_of(_TRACES), default=",".join(_TRACES))
    parser.add_argument("--concurrency", type=count, default=8, help="jobs a pod runs at once")
    parser.add_argument("--max", type=count, default=50, help="replicas at most")
    parser.add_argument("--cold-start", type=amount, default=10.0, help="seconds")
    parser.add_argument("--objective", type=amount, default=30.0, help="seconds a job may wait")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw an SVG of each trace")
    chosen = parser.parse_args()
    setting = Setting(chosen.concurrency, chosen.max, chosen.cold_start, chosen.objective)
    print(f"\n{describe()}")
    agreed = show_agreement()
    print(
        f"\nPods run {setting.concurrency} jobs at once and work {setting.cold_start:g} s after "
        f"they were asked for, {setting.max_replicas} at most; jobs of {SERVICE_SECONDS:g} s on "
        f"average; late: begun after more than {setting.objective:g} s"
    )
    rounds = [replay(_TRACES[name], side, setting) for name in chosen.traces for side in SIDES]
    show(rounds)
    if chosen.plot:
        from bench._autoscaler_plot import draw

        draw(rounds, chosen.plot)
    if not agreed:
        print("\nThe model of KEDA does not do what KEDA did: its figures are worth nothing")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
