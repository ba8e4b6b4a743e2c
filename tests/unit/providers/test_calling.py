"""Calls, retries and fallbacks with calls that a test makes up; NATS is away throughout."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tidegate.chassis.jetstream import JetStream, NotSentError
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Reason
from tidegate.providers.breaker import BreakerPolicy
from tidegate.providers.breakers import Breakers, Permit
from tidegate.providers.calling import BATCH, Caller, Patience, RetryPolicy
from tidegate.providers.errors import ErrorKind, ProviderError
from tidegate.providers.metrics import ProviderMetrics
from tidegate.providers.routes import Target

A, B = (Target(name, "http://x/v1", "m") for name in "ab")
QUICK = RetryPolicy(first=0.001, longest=0.002)
# Longer than any test: what waits for it hangs, what must not wait for it does not.
LONG = 600.0

Outcome = ProviderError | str
UP = "the answer"


def down(**error: Any) -> ProviderError:
    return ProviderError(Reason.PROVIDER_UNAVAILABLE, "down", **error)


class Away(JetStream):
    """No server."""

    def __init__(self) -> None:
        pass

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        raise NotSentError("away")


class World:
    """`calls` are the providers called, `waits` what was told of waits."""

    def __init__(self, **policy: Any) -> None:
        self.guard = TaskGuard()
        self.registry = CollectorRegistry()
        metrics = ProviderMetrics(self.registry)
        self.breakers = Breakers(
            None,  # type: ignore[arg-type]
            Away(),
            self.guard,
            metrics,
            owner="test",
            policy=BreakerPolicy(**policy),
        )
        self.caller = Caller(self.breakers, metrics, policy=QUICK)
        self.calls: list[str] = []
        self.waits: list[Reason] = []

    async def run(
        self,
        outcomes: Callable[[str, int], Outcome] | Sequence[Outcome],
        *,
        targets: Sequence[Target] = (A, B),
        patience: Patience = BATCH,
        attempts_left: int = 20,
        seconds: float | None = None,
    ) -> str:
        before = len(self.calls)

        async def call(target: Target, permit: Permit) -> str:
            del permit
            number = len(self.calls) - before
            self.calls.append(target.provider)
            outcome = outcomes(target.provider, number) if callable(outcomes) else outcomes[number]
            if isinstance(outcome, ProviderError):
                raise outcome
            return outcome

        async def on_wait(reason: Reason, until: float) -> None:
            assert until > 0
            self.waits.append(reason)

        loop_time = asyncio.get_running_loop().time()
        return await self.caller.run(
            targets,
            call,
            deadline=None if seconds is None else loop_time + seconds,
            patience=patience,
            attempts_left=attempts_left,
            on_wait=on_wait,
        )

    async def failure(self, *args: Any, **kwargs: Any) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await self.run(*args, **kwargs)
        return caught.value

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0


@pytest.fixture
async def world() -> World:
    return World()


async def test_the_first_that_answers_is_the_last_that_is_called(world: World) -> None:
    assert await world.run([down(), UP]) == UP
    assert (world.calls, world.waits) == (["a", "b"], [])
    outcomes = [("a", "PROVIDER_UNAVAILABLE"), ("b", "ok")]
    for provider, outcome in outcomes:
        labels = {"provider": provider, "model": "m", "outcome": outcome}
        assert world.count("tidegate_provider_calls_total", **labels) == 1


async def test_rounds_go_on_while_attempts_last(world: World) -> None:
    last = down()
    error = await world.failure([*[down()] * 4, last], attempts_left=5)
    assert world.calls == ["a", "b", "a", "b", "a"]
    assert error is last
    assert world.waits == [Reason.PROVIDER_UNAVAILABLE] * 2


@pytest.mark.parametrize(
    "reason", [Reason.PROVIDER_REFUSED, Reason.CONTENT_FILTERED, Reason.CONTEXT_TOO_LONG]
)
async def test_the_callers_fault_is_told_at_once(world: World, reason: Reason) -> None:
    """Another provider would only be paid for saying the same."""
    error = ProviderError(reason, "no")
    assert await world.failure([error]) is error
    assert world.calls == ["a"]


async def test_a_target_that_is_at_fault_is_left_out(world: World) -> None:
    missing = ProviderError(Reason.PROVIDER_REFUSED, "no such model", kind=ErrorKind.TARGET)

    def outcome(provider: str, number: int) -> Outcome:
        if provider == "a":
            return missing
        return UP if number == 3 else down()

    assert await world.run(outcome) == UP
    assert world.calls == ["a", "b", "b", "b"]
    assert await world.failure([missing] * 2, targets=[A]) is missing


async def test_a_provider_that_asks_for_too_much_time_is_not_waited_for(world: World) -> None:
    error = await world.failure([down(retry_after=LONG)], targets=[A], patience=Patience(10))
    assert (error.retriable, error.retry_after, world.calls) == (True, LONG, ["a"])
    assert await world.run([down(), down(retry_after=LONG), UP]) == UP
    assert world.calls[1:] == ["a", "b", "a"]


async def test_the_deadline_is_not_waited_past(world: World) -> None:
    error = await world.failure([down(retry_after=LONG)], targets=[A], seconds=LONG / 2)
    assert error.retry_after == pytest.approx(LONG)


async def test_after_the_deadline_nobody_is_called(world: World) -> None:
    error = await world.failure([UP], seconds=0)
    assert (error.reason, world.calls) == (Reason.CIRCUIT_OPEN, [])


async def test_waits_add_up_to_the_patience(world: World) -> None:
    error = await world.failure(
        lambda *_: down(retry_after=0.02), targets=[A], patience=Patience(0.05), attempts_left=1000
    )
    assert error.retriable
    assert 1 < len(world.calls) <= 4


async def test_an_open_breaker_is_passed_over_and_costs_no_attempt(world: World) -> None:
    await world.failure([down()] * 5, targets=[A], attempts_left=5)
    world.calls.clear()
    assert await world.run([UP], attempts_left=1) == UP
    assert world.calls == ["b"]
    assert world.count("tidegate_breaker_state", provider="a", model="m") == 2
    assert world.count("tidegate_breaker_refused_total", provider="a", model="m") == 1


async def test_when_all_breakers_are_open_the_caller_is_told_when_to_come_back() -> None:
    world = World(open=LONG, longest_open=LONG, consecutive=1)
    await world.failure([down(), down()], patience=Patience(10))
    error = await world.failure([UP], patience=Patience(10))
    assert (error.reason, error.retriable) == (Reason.CIRCUIT_OPEN, True)
    assert error.retry_after is not None
    assert LONG / 2 < error.retry_after <= LONG * 1.2
    assert world.calls == ["a", "b"]


async def test_who_is_patient_waits_for_a_breaker_and_makes_the_probe() -> None:
    world = World(open=0.05, consecutive=1)
    assert await world.run([down(), down(), UP]) == UP
    assert world.waits[-1] == Reason.CIRCUIT_OPEN
    assert world.count("tidegate_breaker_alone_total") == 1
    assert world.breakers.open_until([A, B]) is None


async def test_waiting_ends_when_somebody_heals_it() -> None:
    """Those who wait do not wait for the end of a probe that has long been answered."""
    world = World(open=0.05, lease=LONG, consecutive=1)
    await world.failure([down()], targets=[A], attempts_left=1)
    await world.breakers.until_callable([A], LONG)
    probe = await world.breakers.permit(A)
    waiting = asyncio.create_task(world.run([down(), UP], targets=[A]))
    while not world.waits:
        await asyncio.sleep(0.001)
    probe.answering()
    assert await waiting == UP
    probe.succeeded()


async def test_only_one_of_many_makes_the_probe() -> None:
    world = World(open=0.05, consecutive=1)
    await world.failure([down()], targets=[A], attempts_left=1)
    await world.breakers.until_callable([A], LONG)
    permits = await asyncio.gather(
        *(world.breakers.permit(A) for _ in range(10)), return_exceptions=True
    )
    granted = [permit for permit in permits if isinstance(permit, Permit)]
    assert len(granted) == 1
    granted[0].failed(down())
    assert world.breakers.open_until([A]) is not None


class GivenUpError(Exception):
    pass


@pytest.mark.parametrize("error", [GivenUpError, asyncio.CancelledError])
async def test_what_is_not_the_providers_fault_passes_through(
    world: World, error: type[BaseException]
) -> None:
    async def call(target: Target, permit: Permit) -> str:
        del target, permit
        raise error

    for _ in range(10):
        with pytest.raises(error):
            await world.caller.run(
                [A], call, deadline=None, patience=BATCH, attempts_left=1, on_wait=None
            )
    assert world.breakers.open_until([A]) is None
    labels = {"provider": "a", "model": "m", "outcome": "cancelled"}
    assert world.count("tidegate_provider_calls_total", **labels) == 10


async def test_a_call_that_is_cancelled_while_it_waits_ends(world: World) -> None:
    waiting = asyncio.create_task(world.run([down(retry_after=LONG)], targets=[A]))
    while not world.waits:
        await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_probe_that_was_cancelled_leaves_its_place_to_the_next() -> None:
    world = World(open=0.05, lease=LONG, consecutive=1)
    await world.failure([down()], targets=[A], attempts_left=1)
    await world.breakers.until_callable([A], LONG)
    (await world.breakers.permit(A)).release()
    permit = await world.breakers.permit(A)
    permit.succeeded()
    assert world.breakers.open_until([A]) is None


async def test_a_request_refused_for_its_own_faults_heals() -> None:
    world = World(open=0.05, consecutive=1)
    await world.failure([down()], targets=[A], attempts_left=1)
    await world.breakers.until_callable([A], LONG)
    (await world.breakers.permit(A)).failed(ProviderError(Reason.PROVIDER_REFUSED, "no"))
    assert world.breakers.open_until([A]) is None


async def test_no_targets_are_a_mistake_of_ours(world: World) -> None:
    with pytest.raises(ValueError, match="no targets"):
        await world.run([UP], targets=[])
