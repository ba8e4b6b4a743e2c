"""The ramp of bench/added_latency.py: how many tokens a second one of each service carries."""

from dataclasses import dataclass, replace
from typing import Final

from bench._child import table
from bench._latency_rounds import Case, Sides, Turn, require_no_hits

LATE_P99_MS: Final = 25.0
# By how much the last tokens of the streams may be late at p99, or it falls behind.
_BEHIND_MS: Final = 1_000.0
MOST_JOBS: Final = 2_000
_WARM_JOBS: Final = 20


@dataclass(frozen=True, slots=True)
class Step:
    """So many answers at once, and what came of them."""

    jobs: int
    turn: Turn

    @property
    def fault(self) -> str:
        """Why it did not hold, if it did not."""
        answer = self.turn.answer
        if answer["faults"]:
            return f"{answer['faults']} answers not right, such as {answer['told'][:1]}"
        if self.turn.ms("behind")[2] > _BEHIND_MS:
            return "falls behind"
        return "too late" if self.turn.ms("late")[2] > LATE_P99_MS else ""


async def climb(sides: Sides, step: int) -> list[Step]:
    """Steps of so many jobs more each, to the first that does not hold."""
    await _step(sides, _WARM_JOBS)
    steps: list[Step] = []
    for jobs in range(sides.case.jobs, MOST_JOBS + 1, step):
        made = await _step(sides, jobs)
        steps.append(made)
        print(
            f"{jobs} jobs: {made.turn.answer['rate']:,.0f} tokens/s, "
            f"p99 {made.turn.ms('late')[2]:.1f} ms {made.fault or 'holds'}",
            flush=True,
        )
        if made.fault:
            break
    return steps


async def _step(sides: Sides, jobs: int) -> Step:
    load = replace(sides.case, jobs=jobs).load()
    turn = await sides.turn(load, sides.world.ports)
    require_no_hits(turn)
    return Step(jobs, turn)


def show_ramp(case: Case, steps: list[Step]) -> None:
    """All steps, and the highest that held."""
    processes = list(steps[0].turn.cpu)
    table(
        f"Jobs x {case.rate:g} tokens/s; CPU of a token in us, cores that others kept busy",
        ("jobs", "tokens/s", "p99 late, ms", "behind, ms", *processes, "others", ""),
        (
            (
                str(each.jobs),
                f"{each.turn.answer['rate']:,.0f}",
                f"{each.turn.ms('late')[2]:.1f}",
                f"{each.turn.ms('behind')[2]:.1f}",
                *(f"{each.turn.cpu[name]:.0f}" for name in processes),
                f"{each.turn.others:.2f}",
                each.fault.partition(",")[0] or "holds",
            )
            for each in steps
        ),
    )
    held = [each for each in steps if not each.fault]
    if held:
        best = held[-1]
        print(
            f"  highest step with p99 <= {LATE_P99_MS:g} ms: {best.turn.answer['rate']:,.0f} "
            f"tokens/s ({best.jobs} jobs)"
        )
    else:
        print(f"  not even {steps[0].jobs} jobs held")


def ramp_case(case: Case) -> Case:
    """The case whose world has slots for the highest step."""
    return replace(case, jobs=MOST_JOBS)
