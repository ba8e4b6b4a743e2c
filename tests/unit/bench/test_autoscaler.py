"""The replay of load traces: a model of KEDA that is unlike KEDA, or a side that is given other
pods than the other, would make the comparison a lie."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench._autoscaler_keda import Behavior, Hpa, Keda, KedaRules
from bench._autoscaler_measured import MEASURED, modelled
from bench._autoscaler_operator import Operator
from bench._autoscaler_rounds import SIDES, Setting, Side, replay
from bench._autoscaler_traces import traces
from bench._autoscaler_world import BREAKER_SECONDS, Trace, World
from tidegate_operator.scaling import PoolPolicy

RULES = KedaRules(lag_threshold=8, max_replicas=50)
SETTING = Setting(concurrency=8, max_replicas=50, cold_start=10.0, objective=30.0)
TRACES = {trace.name: trace for trace in traces()}


class Fixed:
    """A scaler that asks for given numbers of pods at given moments."""

    def __init__(self, *steps: tuple[float, int]) -> None:
        self._steps = list(steps)

    def first(self) -> float:
        return self._steps[0][0]

    def woken(self, now: float) -> float | None:
        del now
        return None

    def act(self, world: World) -> float:
        world.scale(self._steps.pop(0)[1])
        return self._steps[0][0] if self._steps else 1e9


def ran(trace: Trace, *steps: tuple[float, int], concurrency: int = 2) -> World:
    world = World(trace, Fixed(*steps), concurrency, 10.0)
    world.run()
    return world


def trace_of(*jobs: tuple[float, float], seconds: float = 100.0) -> Trace:
    return Trace("some", "some", jobs, seconds)


def test_the_model_does_what_keda_did_on_a_real_node() -> None:
    assert modelled() == MEASURED


def test_the_documented_default_policies_are_not_what_the_node_did() -> None:
    """4 pods or 100 % in 15 s: they hold only where `behavior` is there."""
    hpa = Hpa(replace(RULES, behavior=Behavior(most_added=4, down_seconds=300)))
    assert hpa.desired(0.0, 1, 400) == 5
    assert Hpa(RULES).desired(0.0, 1, 400) == 4


def test_the_hpa_rests_at_zero_and_never_goes_below_one() -> None:
    assert Hpa(RULES).desired(0.0, 0, 400) == 0
    assert Hpa(RULES).desired(0.0, 1, 0) == 1


@pytest.mark.parametrize(("lag", "replicas"), [(88, 10), (89, 12), (72, 10), (71, 9)])
def test_the_hpa_leaves_what_is_nearly_right(lag: int, replicas: int) -> None:
    assert Hpa(replace(RULES, stabilization_seconds=0)).desired(0.0, 10, lag) == replicas


def test_the_hpa_takes_the_highest_of_its_window_also_on_the_way_up() -> None:
    """So a queue that has emptied meanwhile still gets all that was once wanted for it."""
    hpa = Hpa(RULES)
    assert hpa.desired(0.0, 1, 400) == 4
    assert hpa.desired(15.0, 4, 0) == 8
    assert hpa.desired(299.0, 50, 0) == 50
    assert hpa.desired(300.0, 50, 0) == 1


def test_with_a_behavior_the_way_up_is_as_wanted_now() -> None:
    hpa = Hpa(replace(RULES, behavior=Behavior(most_added=50, down_seconds=60)))
    assert hpa.desired(0.0, 1, 400) == 50
    assert hpa.desired(15.0, 10, 200) == 25
    assert hpa.desired(59.0, 50, 0) == 50
    assert hpa.desired(75.0, 25, 0) == 1


def test_keda_goes_to_zero_only_a_cooldown_after_the_last_poll_that_saw_a_job() -> None:
    world = World(trace_of((1.0, 5.0), seconds=900.0), Keda(RULES), 8, 10.0)
    world.run()
    # Cold until 25 s; the poll at 45 s sees nothing any more.
    assert world.last_end == 30.0
    assert world.changes == [(0.0, 0), (15.0, 1), (315.0, 0)]


def test_jobs_begin_in_order_in_the_slots_there_are() -> None:
    world = ran(trace_of(*[(0.0, 4.0)] * 5), (0.0, 1))
    assert [job.begun for job in world.jobs] == [10.0, 10.0, 14.0, 14.0, 18.0]
    assert world.last_end == 22.0


def test_a_pod_counts_from_when_it_was_asked_for_until_its_last_job_ended() -> None:
    world = ran(trace_of((0.0, 30.0)), (0.0, 2), (20.0, 0))
    # One is idle and goes at 20 s; the other drains until 40 s.
    assert world.pod_seconds == 20.0 + 40.0
    assert world.last_end == 40.0


def test_a_pod_that_is_taken_away_before_it_works_never_does() -> None:
    world = ran(trace_of((0.0, 1.0)), (0.0, 1), (5.0, 0), (50.0, 1))
    assert world.jobs[0].begun == 60.0
    assert world.ready_at == [60.0]


def test_in_an_outage_no_job_ends_and_all_begin_again_after_it() -> None:
    outage = replace(trace_of((0.0, 30.0), (45.0, 1.0)), outage=(20.0, 50.0))
    world = ran(outage, (0.0, 1))
    over = 50.0 + BREAKER_SECONDS
    assert [job.begun for job in world.jobs] == [over, over]
    assert world.last_end == over + 30.0


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
@pytest.mark.parametrize("name", ["burst", "on-off", "outage"])
def test_every_job_is_answered_and_all_come_to_zero(name: str, side: Side) -> None:
    world = World(TRACES[name], side.scaler(SETTING), 8, 10.0)
    world.run()
    assert world.ended == len(world.jobs)
    assert world.depth == 0
    assert world.changes[-1][1] == 0
    assert not world.pods
    assert max(replicas for _, replicas in world.changes) <= 50


def test_a_replay_is_the_same_each_time() -> None:
    first, again = (replay(TRACES["burst"], SIDES[0], SETTING) for _ in range(2))
    assert first == again
    assert [trace.jobs for trace in traces()] == [trace.jobs for trace in TRACES.values()]


def test_a_burst_at_zero_gets_its_pods_in_one_step_half_a_second_later() -> None:
    world = World(TRACES["burst"], SIDES[0].scaler(SETTING), 8, 10.0)
    world.run()
    came = TRACES["burst"].jobs[0][0]
    up = [(at, n) for at, n in world.changes if 0 < at < came + 30]
    assert [at for at, _ in up] == [came + 0.5]


def test_only_keda_adds_pods_while_no_provider_answers() -> None:
    tidegate, keda, _ = (replay(TRACES["outage"], side, SETTING) for side in SIDES)
    begins, _ = tidegate.trace.outage or (0.0, 0.0)
    before = [replicas for at, replicas in tidegate.changes if at <= begins][-1]
    assert tidegate.peak_in_outage == before
    assert keda.peak_in_outage == 50


def test_the_word_of_the_first_job_is_enough() -> None:
    """Those that come until it is heard must not put it off."""
    operator = Operator(PoolPolicy())
    assert operator.woken(3.0) == 3.5
    assert operator.woken(3.4) is None


def test_pictures_are_the_same_each_time_and_small(tmp_path: Path) -> None:
    from bench._autoscaler_plot import draw

    rounds = [replay(TRACES["burst"], side, SETTING) for side in SIDES]
    drawn = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        draw(rounds, folder)
        drawn.append((folder / "autoscaler-burst.svg").read_bytes())
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) < 120 * 1024
