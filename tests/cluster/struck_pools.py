"""Pools that tests strike at: with so many jobs that one number of replicas alone is right."""

from typing import Any, Final

import aiohttp

from tests.cluster.operator_world import Object, Operator, OperatorWorld, condition

# Less is heeded at once, so that one wrong look at a queue would show.
STRICT: Final[dict[str, Any]] = {
    "maxReplicas": 8,
    "concurrency": 8,
    "objectiveSeconds": 1,
    "scaling": {"coldStartSeconds": 1, "scaleInSeconds": 0},
}
JOBS_FOR_FIVE: Final = 35


async def asleep(world: OperatorWorld, name: str = "chat") -> None:
    """A pool without a job, at zero."""
    await world.pool(name, **STRICT)
    await world.until(name, lambda pool: condition(pool, "Ready")["status"] == "True")


async def at_five(world: OperatorWorld, name: str = "chat") -> None:
    """A pool that has five replicas, since jobs wait."""
    await asleep(world, name)
    await world.put_jobs(name, JOBS_FOR_FIVE)
    await world.until(name, lambda pool: pool["status"]["replicas"] == 5)


async def until_degraded(world: OperatorWorld, reason: str, name: str = "chat") -> Object:
    return await world.until(name, lambda pool: condition(pool, "Degraded")["reason"] == reason)


async def until_well(world: OperatorWorld, name: str = "chat") -> Object:
    """Only a pool of a queue that no gateway has: there is none in these tests."""
    return await until_degraded(world, "NoRoute", name)


async def until_replicas(world: OperatorWorld, count: int, name: str = "chat") -> None:
    await world.until(name, lambda pool: pool["status"]["replicas"] == count)


async def passes(operator: Operator, ended: str) -> float:
    """How many looks at pools ended so."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{operator.health}/metrics") as response,
    ):
        lines = (await response.text()).splitlines()
    begin = f'tidegate_operator_passes_total{{ended="{ended}"}} '
    return next((float(line.removeprefix(begin)) for line in lines if line.startswith(begin)), 0.0)
