"""Breadth-first search over all reachable states, and the way back from the good ends.

Safety is looked at in every new state, so the first counterexample is a shortest one. Liveness is
reachability: from every state some good end must be reachable over fair steps alone.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .model import Config, Law, State, broken_laws, ended, initial
from .steps import successors


class Counterexample(NamedTuple):
    """The laws that were broken, the transitions that lead there, and the state it ends in."""

    laws: frozenset[Law]
    trace: tuple[str, ...]
    state: State

    def __str__(self) -> str:
        laws = "\n".join(f"broken law {law}" for law in sorted(self.laws))
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(self.trace, 1))
        return f"{laws}\n{steps}"


class Result(NamedTuple):
    """What a search saw. `names` are the transitions that were taken at least once."""

    states: int
    steps: int
    ends: int
    names: frozenset[str]
    counterexample: Counterexample | None


class _Graph:
    """The states in the order of their discovery, how each was reached, and fair steps reversed."""

    def __init__(self, first: State) -> None:
        self.states = [first]
        self.places = {first: 0}
        self.origins: list[tuple[int, str]] = [(0, "")]
        self.fair_from: list[list[int]] = [[]]
        self.steps = 0
        self.names: set[str] = set()

    def add(self, origin: int, label: str, fair: bool, state: State) -> bool:
        """Record one step; True if it leads to a new state."""
        self.steps += 1
        place = self.places.setdefault(state, len(self.states))
        new = place == len(self.states)
        if new:
            self.states.append(state)
            self.origins.append((origin, label))
            self.fair_from.append([])
            self.names.add(label.split(maxsplit=1)[0].rstrip(","))
        if fair and place != origin:
            self.fair_from[place].append(origin)
        return new

    def trace(self, place: int) -> tuple[str, ...]:
        labels: list[str] = []
        while place:
            place, label = self.origins[place]
            labels.append(label)
        return tuple(reversed(labels))

    def counterexample(self, laws: Iterable[Law], place: int) -> Counterexample:
        return Counterexample(frozenset(laws), self.trace(place), self.states[place])


def search(config: Config, laws: frozenset[Law] = frozenset(Law)) -> Result:
    """Explore everything within the bounds; stops at the first state that breaks one of `laws`."""
    first = initial(config)
    graph = _Graph(first)
    place = 0
    while place < len(graph.states):
        for label, fair, state in successors(graph.states[place], config):
            if graph.add(place, label, fair, state) and (broken := broken_laws(state) & laws):
                found = graph.counterexample(broken, len(graph.states) - 1)
                return _result(graph, 0, found)
        place += 1
    return _look_back(graph) if Law.ENDS in laws else _result(graph, 0, None)


def _look_back(graph: _Graph) -> Result:
    ends = [place for place, state in enumerate(graph.states) if ended(state)]
    hopeful = bytearray(len(graph.states))
    for place in ends:
        hopeful[place] = 1
    frontier = list(ends)
    while frontier:
        for origin in graph.fair_from[frontier.pop()]:
            if not hopeful[origin]:
                hopeful[origin] = 1
                frontier.append(origin)
    lost = hopeful.find(0)
    found = None if lost < 0 else graph.counterexample([Law.ENDS], lost)
    return _result(graph, len(ends), found)


def _result(graph: _Graph, ends: int, found: Counterexample | None) -> Result:
    return Result(len(graph.states), graph.steps, ends, frozenset(graph.names), found)
