"""Processes of a fleet that call providers: each with its own connection, breakers and callers.

    async with fleet(nats_server.url, 3, open=0.2) as members:
        await members[0].trip(target)
        await members[1].until_open(target)

The streams must be there. Each member is what a worker or gateway has of it, without the rest.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Self

from prometheus_client import CollectorRegistry

from tests.support.log_world import wait_until
from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.settings import NatsSettings
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Reason
from tidegate.providers.breaker import BreakerPolicy
from tidegate.providers.breakers import Breakers, CircuitOpenError, Permit
from tidegate.providers.calling import Caller, RetryPolicy
from tidegate.providers.clients import Clients
from tidegate.providers.errors import ProviderError
from tidegate.providers.metrics import ProviderMetrics
from tidegate.providers.routes import Target

DOWN = ProviderError(Reason.PROVIDER_UNAVAILABLE, "down")
_QUICK = RetryPolicy(first=0.02, longest=0.1)


class Member:
    """One process; `policy` are fields of BreakerPolicy."""

    def __init__(self, url: str, **policy: Any) -> None:
        self.guard = TaskGuard()
        self.registry = CollectorRegistry()
        self.policy = BreakerPolicy(**policy)
        self.nats = NatsConnection(
            NatsSettings(nats_url=url, nats_ping_interval_seconds=0.5),
            Health(),
            self.guard,
            ChassisMetrics(self.registry),
            service="test",
        )
        self.jetstream = JetStream(self.nats.client)
        metrics = ProviderMetrics(self.registry)
        self.breakers = Breakers(
            self.nats, self.jetstream, self.guard, metrics, owner="same", policy=self.policy
        )
        self.caller = Caller(self.breakers, metrics, policy=_QUICK)
        self.clients = Clients(self.guard, concurrency=16)
        self._dead = False

    async def __aenter__(self) -> Self:
        await self.nats.start()
        await self.jetstream.start()
        await self.breakers.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if not self._dead:
            await self.clients.stop(Deadline(1))
            await self.breakers.stop(Deadline(1))
        await self.nats.stop(Deadline(1))
        await self.guard.cancel_all()
        assert self.guard.fault is None

    async def die(self) -> None:
        """As by kill -9: nothing is given back, nothing is renewed."""
        self._dead = True
        await self.guard.cancel_all()
        await self.nats.stop(Deadline(1))

    async def trip(self, target: Target) -> None:
        """Enough failures to open the breaker here."""
        for _ in range(self.policy.consecutive):
            (await self.breakers.permit(target)).failed(DOWN)
        # By its state, for on a slow machine a short time to open may be over by now.
        assert self.sample("tidegate_breaker_state", target) == 2

    def is_open(self, target: Target) -> bool:
        """Whether this process would refuse a call."""
        return self.breakers.open_until([target]) is not None

    async def until_stored(self, target: Target) -> None:
        """Returns when the store knows what this process knows."""
        await wait_until(lambda: self.stored_at(target) > 0)

    def stored_at(self, target: Target) -> int:
        """The sequence at which the store has what this process knows; 0 while it has not."""
        breaker = self.breakers._entries[target.key].breaker
        return 0 if breaker.unsent else breaker.base

    async def until_open(self, target: Target) -> None:
        """Returns when this process knows that it is not closed, though a probe may be due."""
        await wait_until(lambda: self.sample("tidegate_breaker_state", target) != 0)

    async def until_closed(self, target: Target) -> None:
        """Returns when this process knows that it is closed."""
        await wait_until(lambda: self.sample("tidegate_breaker_state", target) == 0)

    async def ask(self, target: Target) -> Permit | None:
        """A permit, or None where it is refused."""
        try:
            return await self.breakers.permit(target)
        except CircuitOpenError:
            return None

    def sample(self, name: str, target: Target, **labels: str) -> float:
        """A metric of this process."""
        labels |= {"provider": target.provider, "model": target.model}
        return self.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def fleet(url: str, size: int, **policy: Any) -> AsyncIterator[list[Member]]:
    """So many members on one server."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Member(url, **policy)) for _ in range(size)]


async def ask_all(members: list[Member], target: Target, each: int = 1) -> list[Permit]:
    """The permits that were granted when all asked at once."""
    asked = (member.ask(target) for member in members for _ in range(each))
    return [permit for permit in await asyncio.gather(*asked) if permit is not None]
