"""The ramp of bench/added_latency.py: how many tokens a second one of each service carries."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bench._child import spread, table
from bench._latency_rounds import Case, Sides, Turn, require_no_hits

LATE_P99_MS: Final = 25.0
# By how much the last tokens of the streams may be late at p99, or it falls behind.
_BEHIND_MS: Final = 1_000.0
MOST_JOBS: Final = 2_000
_WARM_JOBS: Final = 20
# How often the best step is tried in all.
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Try:
    """So many answers at once, and what came of them."""

    jobs: int
    turn: Turn

    @property
    def rate(self) -> float:
        return float(self.turn.answer["rate"])

    @property
    def fault(self) -> str:
        """Why it did not hold, if it did not."""
        answer = self.turn.answer
        if answer["faults"]:
            return f"{answer['faults']} answers not right, such as {answer['told'][:1]}"
        if self.turn.ms("behind")[2] > _BEHIND_MS:
            return "falls behind"
        return "too late" if self.turn.ms("late")[2] > LATE_P99_MS else ""


@dataclass(slots=True)
class Climb:
    """All tries in their order; `best` are those of the highest step that held."""

    tries: list[Try] = field(default_factory=list)
    best: list[Try] = field(default_factory=list)

    async def step(self, sides: Sides, jobs: int) -> Try:
        """One try, which is told."""
        load = replace(sides.case, jobs=jobs).load()
        turn = await sides.turn(load, sides.world.ports)
        require_no_hits(turn)
        made = Try(jobs, turn)
        self.tries.append(made)
        print(
            f"{jobs} jobs: {made.rate:,.0f} tokens/s, "
            f"p99 {turn.ms('late')[2]:.1f} ms {made.fault or 'holds'}",
            flush=True,
        )
        return made


async def climb(sides: Sides, step: int) -> Climb:
    """Steps of so many jobs more each, to the first that fails twice; the best one again."""
    await Climb().step(sides, _WARM_JOBS)
    made = Climb()
    for jobs in range(sides.case.jobs, MOST_JOBS + 1, step):
        tries = [await made.step(sides, jobs)]
        if tries[0].fault:
            tries.append(await made.step(sides, jobs))
        if tries[-1].fault:
            break
        made.best = tries
    while made.best and len(made.best) < _TRIES:
        made.best.append(await made.step(sides, made.best[0].jobs))
    return made


def show_ramp(case: Case, made: Climb) -> None:
    """All tries, and the highest step that held."""
    table(
        f"Jobs x {case.rate:g} tokens/s; CPU of a token in us, cores that others kept busy",
        ("jobs", "tokens/s", "p99 late, ms", "behind, ms", *made.tries[0].turn.cpu, "others", ""),
        [_row(each) for each in made.tries],
    )
    if not made.best:
        print(f"  not even {made.tries[0].jobs} jobs held, twice")
        return
    held = sum(not each.fault for each in made.best)
    print(
        f"  highest step that held p99 <= {LATE_P99_MS:g} ms: {made.best[0].jobs} jobs, "
        f"{spread([each.rate for each in made.best], 0)} tokens/s, p99 "
        f"{spread([each.turn.ms('late')[2] for each in made.best])} ms; "
        f"{held} of {len(made.best)} tries held"
    )


def _row(each: Try) -> Sequence[str]:
    return (
        str(each.jobs),
        f"{each.rate:,.0f}",
        f"{each.turn.ms('late')[2]:.1f}",
        f"{each.turn.ms('behind')[2]:.1f}",
        *(f"{spent:.0f}" for spent in each.turn.cpu.values()),
        f"{each.turn.others:.2f}",
        each.fault.partition(",")[0] or "holds",
    )


def ramp_case(case: Case) -> Case:
    """The case whose world has slots for the highest step."""
    return replace(case, jobs=MOST_JOBS)
