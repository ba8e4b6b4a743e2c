"""Who of the operator's replicas acts: leader election by a Lease (coordination.k8s.io/v1).

The protocol is that of client-go's leaderelection. A leader writes the Lease every few seconds. One
that could not for two thirds of the Lease's duration stops acting; others take over once they have
seen no change for the whole duration, by their own clocks. Each change of holder adds one to
`leaseTransitions`, which with the holder's name is the epoch that its writes carry.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.kubernetes_api import (
    ApiServerError,
    ConflictError,
    KubernetesApi,
    Object,
)
from tidegate.chassis.tasks import TaskGuard
from tidegate_operator.belonging import owners_of

_log = structlog.stdlib.get_logger(module=__name__)

_CONDITION: Final = "api-server"
# Shares of the Lease's duration; those of the renewal are client-go's (15 s, 10 s, 2 s).
_RENEW_SHARE: Final = 2 / 3
_RETRY_SHARE: Final = 2 / 15
# A leader whose first try gets no answer has time for another before its term is over.
_TRY_SHARE: Final = 1 / 4
# A long Lease is renewed no less often: a replica that follows is to hear soon of one that was let
# go.
_LONGEST_RETRY: Final = 2.0
_LONGEST_TRY: Final = 4.0
_SHORTEST_PAUSE: Final = 0.1
_STUCK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one who holds a Lease, or wants to; seconds.

    It acts for `renewed` after it asked for what was granted, asks every `retry`, and waits no
    longer than `patience` for an answer.
    """

    renewed: float
    retry: float
    patience: float

    @classmethod
    def of(cls, seconds: float) -> "Pace":
        """The pace that fits a Lease of this duration."""
        return cls(
            renewed=seconds * _RENEW_SHARE,
            retry=min(seconds * _RETRY_SHARE, _LONGEST_RETRY),
            patience=min(seconds * _TRY_SHARE, _LONGEST_TRY),
        )

    def pause(self, took: float) -> float:
        """How long to wait after a try that took so long."""
        return max(self.retry - took, _SHORTEST_PAUSE)


class Term:
    """The time in which this process leads; `epoch` names it in what it writes."""

    def __init__(self, epoch: str, until: float, clock: Callable[[], float]) -> None:
        self.epoch = epoch
        self._until = until
        self._clock = clock

    @property
    def lasts(self) -> bool:
        """Whether this process may act now; to be asked just before each write."""
        return self._clock() < self._until

    def extend(self, until: float) -> None:
        """The Lease was renewed."""
        self._until = until


class Step(Enum):
    """What to do with a Lease as it was found."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


@dataclass(slots=True)
class Observed:
    """A holder's last sign of life, and when this process first saw it by its own clock."""

    record: tuple[str, str] = ("", "")
    seen_at: float = 0.0

    def look(self, lease: Object, now: float) -> None:
        """Takes in a Lease as it was read."""
        spec = lease.get("spec") or {}
        record = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
        if record != self.record:
            self.record, self.seen_at = record, now


def next_step(lease: Object | None, observed: Observed, identity: str, now: float) -> Step:
    """What a replica does with the Lease that it has just looked at. Pure."""
    if lease is None:
        return Step.CREATE
    holder = observed.record[0]
    if holder == identity:
        return Step.RENEW
    seconds = (lease.get("spec") or {}).get("leaseDurationSeconds") or 0
    return Step.TAKE if not holder or now - observed.seen_at >= seconds else Step.WAIT


class Election:
    """A component: waits until this process leads, calls `on_elected` then, and renews.

    `owner` is a ConfigMap that the Lease goes with, if any.

    A leader that cannot renew in time is a fault, which ends the process: what it holds in hand is
    of no use any more.
    """

    name = "election"

    def __init__(
        self,
        api: KubernetesApi,
        guard: TaskGuard,
        health: Health,
        *,
        lease: str,
        owner: str | None,
        identity: str,
        seconds: int,
        on_elected: Callable[[Term], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._guard = guard
        self._health = health
        self._lease = lease
        self._owner = owner
        # A container that is started again is another process, and waits like any other.
        self._identity = f"{identity}_{secrets.token_hex(4)}"
        self._seconds = seconds
        self._pace = Pace.of(seconds)
        self._on_elected = on_elected
        self._clock = clock
        self._observed = Observed()
        self._task: asyncio.Task[None] | None = None
        self.term: Term | None = None
        self._looked_at = clock()
        health.set(_CONDITION, False, "not asked yet")

    @property
    def stuck(self) -> str:
        """Why the process is to be started again; empty while it is well."""
        silent = self._clock() - self._looked_at
        return "the lease is not looked at" if silent > _STUCK_SECONDS else ""

    async def start(self) -> None:
        """Stands for election in the background."""
        self._task = self._guard.spawn_eternal(self.name, self._run())

    async def stop(self, deadline: Deadline) -> None:
        """Lets go of the Lease, so that another takes over at once."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if self.term is None or not self.term.lasts:
            return
        self.term.extend(float("-inf"))
        try:
            async with asyncio.timeout(min(_LONGEST_TRY, max(deadline.remaining(), 0.1))):
                found = await self._api.get(self._path)
                if found is not None and _holder(found) == self._identity:
                    found["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._api.replace(self._path, found)
        except (ApiServerError, TimeoutError) as error:
            _log.warning("the lease runs out by itself", error=str(error))

    @property
    def _leases(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._api.namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._leases}/{self._lease}"

    async def _run(self) -> None:
        while True:
            began = self._clock()
            await self._try(began)
            self._looked_at = self._clock()
            if self.term is not None and not self.term.lasts:
                self._guard.fail(self.name, "the lease is lost: another replica may lead by now")
                await asyncio.Event().wait()
            await asyncio.sleep(self._pace.pause(self._clock() - began))

    async def _try(self, began: float) -> None:
        try:
            async with asyncio.timeout(self._pace.patience):
                held = await self._step(began)
        except ConflictError:
            self._reached()
            return  # Another was faster; the next look tells who.
        except (ApiServerError, TimeoutError) as error:
            self._health.set(_CONDITION, False, str(error) or "no answer in time")
            return
        self._reached()
        if held is not None:
            self._won(held, began)
        elif self.term is not None:
            self.term.extend(float("-inf"))

    def _reached(self) -> None:
        self._health.set(_CONDITION, True)

    async def _step(self, now: float) -> Object | None:
        """The Lease as this process holds it now; None where another does."""
        found = await self._api.get(self._path)
        if found is not None:
            self._observed.look(found, now)
        step = next_step(found, self._observed, self._identity, now)
        if step is Step.CREATE:
            return await self._api.create(self._leases, await self._new())
        if found is None or step is Step.WAIT:
            return None
        taken = found.get("spec") or {}
        found["spec"] = self._spec(taken if step is Step.RENEW else None, taken)
        return await self._api.replace(self._path, found)

    async def _new(self) -> Object:
        owners = await owners_of(self._api, self._owner)
        if owners is None:
            _log.warning(
                "the lease has no owner and stays after an uninstall: there is no such ConfigMap",
                lease=self._lease,
                config_map=self._owner,
            )
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._lease, "ownerReferences": owners or []},
            "spec": self._spec(None, {}),
        }

    def _spec(self, own: Object | None, before: Object) -> Object:
        now = _micro_time()
        transitions = int(before.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._seconds,
            "acquireTime": own["acquireTime"] if own else now,
            "renewTime": now,
            "leaseTransitions": transitions if own or not before else transitions + 1,
        }

    def _won(self, lease: Object, began: float) -> None:
        # From before the request was sent: the others count from when they see it.
        until = began + self._pace.renewed
        if self.term is not None:
            self.term.extend(until)
            return
        spec: dict[str, Any] = lease["spec"]
        epoch = f"{spec['leaseTransitions']}-{self._identity}"
        _log.info("leading", epoch=epoch)
        self.term = Term(epoch, until, self._clock)
        self._on_elected(self.term)


def _holder(lease: Object) -> str:
    return (lease.get("spec") or {}).get("holderIdentity") or ""


def _micro_time() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
