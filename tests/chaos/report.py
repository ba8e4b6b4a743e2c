"""What a run tells: a few lines for each round, and what all of them came to."""

from collections import Counter
from dataclasses import dataclass, field

from bench._machine import describe
from tests.chaos.footprints import FEWEST_ROUNDS, growth
from tests.chaos.rounds import Round
from tests.chaos.servers import Topology


@dataclass(slots=True)
class Total:
    """All rounds of a run; `wrong` is what is wrong with the run as a whole."""

    rounds: list[tuple[Topology, Round]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> int:
        """Of all rounds, and of the whole."""
        return sum(len(each.verdict.complaints) for _, each in self.rounds) + len(self.wrong)

    def of(self, topology: Topology) -> list[Round]:
        """Its rounds."""
        return [each for its, each in self.rounds if its is topology]


def say(line: str) -> None:
    """A line of progress."""
    print(line, flush=True)


def print_round(one: Round, again: str) -> None:
    """`again` is the command that begins with the same plan."""
    verdict = one.verdict
    say(
        f"  {one.seconds:.0f} s: {verdict.accepted} of {one.surfaces.total()} jobs accepted; "
        f"{verdict.refused.total()} creates refused, {verdict.unanswered} without an answer, "
        f"of which {verdict.orphans} made a job of which its client never heard"
    )
    say(f"  jobs: {_told(verdict.states)}; answers: {_told(verdict.tiers)}")
    say(f"  why not completed: {_told(verdict.reasons)}")
    say(f"  refused: {_told(verdict.refused)}")
    say(
        f"  {verdict.resumed} resumes, {verdict.events} events, {verdict.attempts} attempts, "
        f"{verdict.calls} calls, {verdict.stopped} of them stopped in mid-answer; "
        f"accepted cancels: {_told(verdict.cancels)}"
    )
    if verdict.revived:
        say(
            f"  {verdict.revived} messages of sealed logs were brought back by a killed nats-server"
        )
    for complaint in verdict.complaints:
        say(f"  COMPLAINT ({again}) {complaint}")


def print_total(total: Total, seconds: float) -> None:
    """The machine, blows, jobs by what they are kept on, memory, complaints."""
    blows: Counter[str] = Counter()
    surfaces: Counter[str] = Counter()
    for _, one in total.rounds:
        blows += one.blows
        surfaces += Counter({str(name): number for name, number in one.surfaces.items()})
    say(f"\n{describe()}\n")
    say(f"{len(total.rounds)} rounds in {seconds:.0f} s; jobs asked for: {_told(surfaces)}")
    for name, number in sorted(blows.items()):
        say(f"  {number:4}  {name}")
    _print_leaders(total)
    for topology in Topology:
        if of := total.of(topology):
            _print_topology(topology, of)
    for complaint in total.wrong:
        say(f"COMPLAINT {complaint}")
    say(f"complaints: {total.complaints}")


def _print_topology(topology: Topology, rounds: list[Round]) -> None:
    of = [each.verdict for each in rounds]
    states = sum((each.states for each in of), Counter[str]())
    reasons = sum((each.reasons for each in of), Counter[str]())
    say(
        f"{topology}: {len(of)} rounds, {sum(each.accepted for each in of)} jobs accepted, "
        f"{sum(each.orphans for each in of)} more unheard of, "
        f"{sum(each.resumed for each in of)} resumes, {sum(each.events for each in of)} events, "
        f"{sum(each.revived for each in of)} messages revived, "
        f"{sum(len(each.complaints) for each in of)} complaints"
    )
    say(f"  jobs: {_told(states)}")
    say(f"  why not completed: {_told(reasons)}")
    _print_held(rounds)


def _print_leaders(total: Total) -> None:
    """A nats-server that stands alone leads nobody."""
    blows = Counter[str]()
    for one in total.of(Topology.THREE):
        blows += Counter({name: each for name, each in one.blows.items() if "nats-" in name})
    led = sum(each for name, each in blows.items() if "leader" in name)
    if blows:
        say(f"{led} of {blows.total()} blows at nats-servers on R3 struck the leader of a stream")


def _print_held(rounds: list[Round]) -> None:
    """Of the last round, beside the first: what a process holds at rest."""
    of = [each.footprints for each in rounds]
    say("  at rest after the first and the last round:")
    for name in of[0]:
        first, last = of[0][name], of[-1].get(name, of[0][name])
        its = [each[name].mebibytes for each in of if name in each]
        lived = first.pid == last.pid and len(its) >= FEWEST_ROUNDS
        grown = f"{growth(its):+.1%}, " if lived else ""
        say(
            f"    {name:12} {first.mebibytes:5.0f} to {last.mebibytes:5.0f} MiB, {grown}"
            f"{first.descriptors} to {last.descriptors} descriptors, "
            f"{first.threads} to {last.threads} threads"
            f"{'' if first.pid == last.pid else ', another process since'}"
        )


def _told(counts: Counter[str]) -> str:
    told = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
    return told or "none"
