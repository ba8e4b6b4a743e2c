"""What of a look is told at once, and what may wait: each word is a write to etcd."""

from dataclasses import replace
from typing import Any

import pytest

from tidegate_operator.conditions import Fault, Reason
from tidegate_operator.pool import parse_object
from tidegate_operator.queues import QueueLook
from tidegate_operator.signals import Ages, ConsumerLook, Means, Told, signals_of
from tidegate_operator.telling import _still, found_of
from tidegate_operator.turn import Turn

BODY: dict[str, Any] = {
    "metadata": {
        "name": "chat",
        "namespace": "ns",
        "uid": "u",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {"queue": "chat"},
    "status": {"desiredReplicas": 4},
}
DEPLOYMENT = {"spec": {"replicas": 2}, "status": {"readyReplicas": 1}}


def turn(**more: Any) -> Turn:
    return Turn(body=BODY, seen=parse_object(BODY), **more)


def looked(*, pending: int, held: int, told: Told | None, routed: bool = True) -> Turn:
    interactive = ConsumerLook(
        num_pending=pending, num_ack_pending=held, consumer_sequence=held, max_ack_pending=100
    )
    batch = replace(interactive, num_pending=0, num_ack_pending=0)
    signals = signals_of(
        interactive,
        batch,
        told,
        ages=Ages(),
        arrival_per_second=0,
        means=Means(1.0),
        guess_seconds=7.0,
        current=2,
    )
    look = QueueLook(interactive, batch, Ages(), routed=routed)
    return turn(current=DEPLOYMENT, look=look, signals=signals, target=3)


def told(running: int, *, blocked: bool = False) -> Told:
    return Told(running, 0, blocked, None, None, None)


def test_a_look_that_saw_nothing_keeps_what_was_decided() -> None:
    fault = Fault(Reason.NATS_UNREACHABLE, "no answer")
    found = found_of(turn(current=DEPLOYMENT, fault=fault, blind=True))
    assert (found.fault, found.desired, found.current, found.ready) == (fault, 4, 2, 1)
    assert (found.waiting, found.running, found.no_route) == (None, None, False)


def test_without_a_deployment_there_are_no_replicas() -> None:
    found = found_of(turn())
    assert (found.current, found.ready) == (None, 0)


@pytest.mark.parametrize(
    ("says", "waiting", "running"),
    [(None, 5, 7), (told(7), 5, 7), (told(3), 9, 3), (told(9), 3, 9), (told(20), 0, 20)],
)
def test_jobs_wait_that_no_worker_holds(says: Told | None, waiting: int, running: int) -> None:
    found = found_of(looked(pending=5, held=7, told=says))
    assert (found.waiting, found.running) == (waiting, running)


def test_a_job_that_is_parked_for_its_provider_waits_in_the_eyes_of_people() -> None:
    found = found_of(looked(pending=0, held=7, told=told(0, blocked=True)))
    assert (found.waiting, found.outage) == (7, True)


def test_what_no_gateway_routes_to_is_told() -> None:
    assert found_of(looked(pending=0, held=0, told=None, routed=False)).no_route


CONDITION = {"type": "Ready", "status": "True", "reason": "Available", "message": "2 of 2"}
STATUS = {"replicas": 2, "waiting": 5, "oldestSeconds": 3, "conditions": [CONDITION]}


@pytest.mark.parametrize(
    "moved",
    [
        {"waiting": 6},
        {"oldestSeconds": 9},
        {"reason": "6 wait"},
        {"conditions": [CONDITION | {"message": "1 of 2"}]},
    ],
)
def test_what_only_moves_may_wait(moved: dict[str, Any]) -> None:
    assert _still(STATUS | moved) == _still(STATUS)


@pytest.mark.parametrize(
    "matters",
    [
        {"replicas": 3},
        {"observedGeneration": 2},
        {"limiter": "MaxReplicas"},
        {"conditions": [CONDITION | {"reason": "Scaling"}]},
        {"conditions": []},
    ],
)
def test_what_matters_is_told_at_once(matters: dict[str, Any]) -> None:
    assert _still(STATUS | matters) != _still(STATUS)
