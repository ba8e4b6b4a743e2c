"""All pools of a leader: a keeper for each, woken by what changes, and a sweep for the rest."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import JetStreamError
from tidegate.chassis.kubernetes_api import ApiServerError
from tidegate.chassis.tasks import TaskGuard, cancel_and_wait
from tidegate_operator.default_pool import DefaultPools
from tidegate_operator.keeper import Keeper
from tidegate_operator.parts import KeeperParts
from tidegate_operator.registry import Key
from tidegate_operator.sweep import sweep_consumers
from tidegate_operator.watching import Watch

_log = structlog.stdlib.get_logger(module=__name__)

_SWEEP_SECONDS: Final = 60.0
# A pool's end is followed by a sweep this much later: the pools of a namespace go together.
_SOON_SECONDS: Final = 2.0
# Requests to the API give up within seconds. A pool that was not looked at for so long will not be.
_STUCK_SECONDS: Final = 180.0


class Fleet:
    """Works from `begin` on. `parts` are what keepers share; `default` the installation's pools."""

    name = "pools"

    def __init__(
        self,
        parts: KeeperParts,
        watch: Watch,
        guard: TaskGuard,
        *,
        default: DefaultPools | None,
    ) -> None:
        self._parts = parts
        self._watch = watch
        self._guard = guard
        self._default = default
        self._keepers: dict[Key, Keeper] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._sweep_due = asyncio.Event()
        self._begun = False

    async def start(self) -> None:
        """Nothing: it works while its process leads."""

    async def stop(self, deadline: Deadline) -> None:
        """Nothing more is written, however often this is called."""
        self._parts.metrics.leading.set(0)
        await cancel_and_wait({*self._loops, *self._tasks.values()}, deadline.remaining())
        await self._watch.stop(deadline)

    @property
    def leads(self) -> bool:
        """Whether this process has begun to keep pools."""
        return bool(self._loops)

    def begin(self) -> None:
        """This process leads."""
        self._parts.metrics.leading.set(1)
        self._loops = [self._guard.spawn_eternal(self.name, self._run())]

    def changed(self, key: Key) -> None:
        """A pool, or its Deployment, is new, other or gone."""
        keeper = self._keepers.get(key)
        if key not in self._parts.registry.pools:
            self._drop(key)
        elif keeper is not None:
            keeper.changed()
        elif self._begun:
            self._keep(key)

    def job_came(self, queue: str) -> None:
        """A gateway has accepted a job."""
        key = self._parts.registry.holder_of(queue)
        keeper = None if key is None else self._keepers.get(key)
        if keeper is not None:
            self._parts.metrics.wakes.inc()
            keeper.job_came()

    @property
    def stuck(self) -> str:
        """Why the process is to be started again; empty while it is well."""
        if not self._watch.alive:
            return "the watch of the cluster has ended"
        since = self._parts.clock() - _STUCK_SECONDS
        overdue = [key for key, keeper in self._keepers.items() if keeper.due_since < since]
        if overdue:
            return f"{len(overdue)} pools, {overdue[0].name} among them, are not looked at"
        return ""

    async def _run(self) -> None:
        await self._begin_keeping()
        clock = self._parts.clock
        whole_at = clock() + _SWEEP_SECONDS
        while True:
            whole = await self._until_sweep(whole_at)
            if whole:
                whole_at = clock() + _SWEEP_SECONDS
                await self._ensure_default()
            await self._sweep(whole)

    async def _begin_keeping(self) -> None:
        await self._ensure_default()
        await self._watch.begin()
        self._begun = True
        for key in list(self._parts.registry.pools):
            self._keep(key)

    async def _until_sweep(self, whole_at: float) -> bool:
        """Whether all is to be looked at: at `whole_at` it is, and before only what has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(whole_at - self._parts.clock(), 0.0)):
                await self._sweep_due.wait()
                await asyncio.sleep(_SOON_SECONDS)
        self._sweep_due.clear()
        return self._parts.clock() >= whole_at

    async def _ensure_default(self) -> None:
        if self._default is not None and self._parts.writer.leads:
            await self._default.ensure()

    async def _sweep(self, whole: bool) -> None:
        """Looks for pools whose end was missed, then deletes what was theirs in JetStream.

        `whole`: looks for all else that was missed too.
        """
        parts, watch = self._parts, self._watch
        parts.workers.forget_all_but(parts.registry.queues())
        try:
            await (watch.catch_up() if whole else watch.catch_up_with_pools())
            await sweep_consumers(
                parts.jetstream,
                parts.registry.queues,
                parts.operator,
                leads=lambda: parts.writer.leads,
            )
        except (ApiServerError, JetStreamError) as error:
            _log.warning("not swept", why=str(error))

    def _keep(self, key: Key) -> None:
        keeper = self._keepers[key] = Keeper(key, self._parts)
        self._tasks[key] = self._guard.spawn_eternal(f"pool {key.name}", keeper.run())
        self._parts.metrics.pools.set(len(self._keepers))

    def _drop(self, key: Key) -> None:
        keeper = self._keepers.pop(key, None)
        if keeper is None:
            return
        self._tasks.pop(key).cancel()
        keeper.close()
        self._parts.metrics.pools.set(len(self._keepers))
        self._sweep_due.set()
