"""The traces of bench.autoscaler: the same jobs, at the same moments, for every side.

Arrivals are a Poisson process whose rate follows a curve; jobs run for a time whose logarithm is
normal, as answers of a model are long or short. Seeds are fixed.
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Final

from bench._autoscaler_world import Trace

SERVICE_SECONDS: Final = 5.0
_SPREAD: Final = 0.6
# After the last job, for both sides to come to zero.
_REST: Final = 480.0
_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR

Curve = Callable[[float], float]


def traces() -> list[Trace]:
    """All five, in the order in which they are shown."""
    return [_burst(), _ramp(), _diurnal(), _on_off(), _outage()]


def measured_burst() -> Trace:
    """What KEDA was given on a real node: 400 jobs at zero.

    How long they ran is not known. 29.5 s lets the queue be empty 18 s after a poll, which is what
    the 282 s until zero say.
    """
    return Trace("measured", "400 jobs at zero", [(0.0, 29.5)] * 400, 600.0)


def _burst() -> Trace:
    chance = random.Random(1)
    jobs = [(at, _service(chance)) for at in (60.0, 1260.0) for _ in range(400)]
    return Trace("burst", "400 jobs at once, twice", jobs, 1260 + 600 + _REST)


def _ramp() -> Trace:
    def rate(at: float) -> float:
        return 20 * min(1.0, at / 1200, max(0.0, (2400 - at) / 600))

    return _poisson(
        "ramp", "up to 20 jobs/s in 20 minutes, down in 10", rate, most=20, seconds=2400, seed=2
    )


def _diurnal() -> Trace:
    def rate(at: float) -> float:
        """Least at 4 o'clock, most at 16."""
        return 0.02 + 5.98 * (0.5 - 0.5 * math.cos((at / _HOUR - 4) * math.tau / 24)) ** 2

    return _poisson(
        "diurnal", "a day: 0.02 jobs/s by night, 6 by day", rate, most=6, seconds=_DAY, seed=3
    )


def _on_off() -> Trace:
    def rate(at: float) -> float:
        return 10.0 if at % 300 < 120 else 0.0

    return _poisson(
        "on-off", "10 jobs/s for 2 minutes of every 5", rate, most=10, seconds=_HOUR, seed=4
    )


def _outage() -> Trace:
    title = "6 jobs/s; the provider is out for 10 minutes"
    trace = _poisson("outage", title, lambda _: 6.0, most=6, seconds=2400, seed=5)
    return Trace(trace.name, trace.title, trace.jobs, trace.seconds, outage=(900.0, 1500.0))


def _poisson(
    name: str, title: str, rate: Curve, *, most: float, seconds: float, seed: int
) -> Trace:
    chance = random.Random(seed)
    jobs = [(at, _service(chance)) for at in _arrivals(chance, rate, most, seconds)]
    return Trace(name, title, jobs, seconds + _REST)


def _arrivals(chance: random.Random, rate: Curve, most: float, seconds: float) -> Iterator[float]:
    """By thinning: Lewis and Shedler 1979."""
    at = chance.expovariate(most)
    while at < seconds:
        if chance.random() * most < rate(at):
            yield at
        at += chance.expovariate(most)


def _service(chance: random.Random) -> float:
    """Of the mean that is wanted: a logarithm's mean is less by half its variance."""
    return chance.lognormvariate(math.log(SERVICE_SECONDS) - _SPREAD**2 / 2, _SPREAD)
