"""One answer of bench/added_latency.py as it came, whether it was right, and figures of many.

Times are of `time.perf_counter`, figures in milliseconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bench._child import quantile
from tidegate.simulator.answer import answer

QUANTILES: Final = (0.5, 0.95, 0.99)
_SEED: Final = 1
# Answers that are told of a round, where some are not right.
_TOLD: Final = 3
_THINGS: Final = (
    *("harbour", "ledger", "violin", "glacier", "orchard", "engine", "parliament", "comet"),
    *("bakery", "vaccine", "bridge", "lantern", "desert", "turbine", "novel", "reef"),
    *("market", "forest", "satellite", "kitchen", "mountain", "railway", "garden", "contract"),
    *("museum", "river", "battery", "theatre", "stadium", "pension", "island", "compiler"),
)
_ASKED: Final = (
    *("What does a {} have to do with a {} in case {}?", "Who paid for the {} and the {} of {}?"),
    *("How long may a {} and a {} last after {} days?", "Why was the {} near {} number {} shut?"),
)

Event = dict[str, Any]


class _Event(msgspec.Struct):
    """What is read of an event on its way."""

    job_id: str
    type: str
    sequence: int = 0
    data: str = ""
    attempt: int = 1
    cache: dict[str, Any] | None = None


decode = msgspec.json.Decoder(_Event).decode


@dataclass(frozen=True, slots=True)
class Load:
    """So many answers of `tokens` at `rate` a second each, which start evenly over `over` seconds.

    `ttft` is the simulator's own, in seconds. `name` tells the questions from those of other loads.
    """

    jobs: int
    rate: float
    tokens: int
    over: float
    ttft: float
    name: str

    @property
    def lasts(self) -> float:
        """Seconds from the first start to the last token, if nothing is late."""
        return self.over + self.ttft + (self.tokens - 1) / self.rate

    def request(self, number: int) -> dict[str, Any]:
        return {
            "model": "sim-small",
            "messages": [{"role": "user", "content": self._question(number)}],
            "max_tokens": self.tokens,
        }

    def text(self, number: int) -> str:
        """What the simulator answers."""
        return answer(_SEED, self.request(number)["messages"], self.tokens).text()

    def _question(self, number: int) -> str:
        """Other words than those of its neighbours, and a number that no other one has."""
        one, two = divmod(number * 37 + 11, len(_THINGS))
        things = _THINGS[one % len(_THINGS)], _THINGS[two]
        return _ASKED[number % len(_ASKED)].format(*things, f"{self.name}{number}")


@dataclass(slots=True)
class Call:
    """One answer. `created` is when the job was acknowledged, `tier` what its cache mark says."""

    number: int
    due: float
    sent: float = 0.0
    created: float = 0.0
    ended: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    sequence: int = 0
    tier: str = "none"
    problem: str = ""

    def take(self, event: _Event, now: float) -> bool:
        """Takes the next event; whether it was the last one."""
        if event.sequence != self.sequence + 1:
            self.problem = self.problem or f"sequence {event.sequence} follows {self.sequence}"
        self.sequence = event.sequence
        if event.type == "delta":
            self.arrivals.append(now)
            self.parts.append(event.data)
        elif event.type == "attempt_started":
            self.tier = (event.cache or {}).get("tier", "none")
            self.problem = self.problem or (f"attempt {event.attempt}" if event.attempt > 1 else "")
        elif event.type != "waiting":
            self.problem = self.problem or ("" if event.type == "completed" else event.type)
            self.ended = now
        return self.ended > 0.0

    def fault(self, load: Load) -> str:
        """What is wrong with it; nothing, if every token is there, once and in order."""
        if self.problem or not self.ended:
            return self.problem or f"not ended after {len(self.arrivals)} tokens"
        if len(self.arrivals) != load.tokens:
            return f"{len(self.arrivals)} of {load.tokens} tokens"
        return "" if "".join(self.parts) == load.text(self.number) else "another text"


def figures(calls: Sequence[Call], load: Load) -> dict[str, Any]:
    """What the bench is told of a round.

    `first` is of all answers, `first_missed` of those for which the cache said that it has none.
    """
    faults = [f"{call.number}: {fault}" for call in calls if (fault := call.fault(load))]
    whole = [call for call in calls if call.arrivals and call.ended]
    late = [1e3 * each for call in whole for each in _behind_timetable(call, load)]
    after_due: dict[str, Callable[[Call], float]] = {
        "create": lambda call: call.created - call.due,
        "whole": lambda call: call.ended - call.due,
        "behind": lambda call: call.arrivals[-1] - call.due - load.lasts + load.over,
        "sent": lambda call: call.sent - call.due,
    }
    tiers = [call.tier for call in calls]
    return {
        "tokens": sum(len(call.arrivals) for call in calls),
        "rate": _sustained(calls, load),
        "late": _quantiles(late),
        "first": _quantiles([_first(call, load) for call in whole]),
        "first_missed": _quantiles([_first(call, load) for call in whole if call.tier == "miss"]),
        "faults": len(faults),
        "told": faults[:_TOLD],
        "tiers": {tier: tiers.count(tier) for tier in set(tiers)},
    } | {name: _quantiles([1e3 * pick(call) for call in whole]) for name, pick in after_due.items()}


def _first(call: Call, load: Load) -> float:
    """How late the first token was, in milliseconds."""
    return 1e3 * (call.arrivals[0] - call.due - load.ttft)


def _behind_timetable(call: Call, load: Load) -> list[float]:
    """How late each token was against the steadiest timetable that fits its stream."""
    offsets = [arrival - n / load.rate for n, arrival in enumerate(call.arrivals)]
    base = min(offsets)
    return [offset - base for offset in offsets]


def _sustained(calls: Sequence[Call], load: Load) -> float:
    """Tokens a second while all streams are due to run; 0 where they never are at once."""
    begin = calls[0].due + load.over + load.ttft
    end = calls[0].due + load.lasts - load.over
    if end <= begin:
        return 0.0
    return sum(begin <= at < end for call in calls for at in call.arrivals) / (end - begin)


def _quantiles(values: list[float]) -> list[float]:
    return [quantile(values, q) for q in QUANTILES]
