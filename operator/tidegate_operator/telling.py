"""Tells people how a pool stands: its status, Events, and the metrics of it.

What matters is written at once. Numbers that only move are written every few seconds, for each
write of a status is one to etcd.
"""

from datetime import UTC, datetime
from typing import Any, Final

import structlog

from tidegate.chassis.kubernetes_api import ApiServerError, ConflictError
from tidegate_operator.conditions import Figures, Found, status_of
from tidegate_operator.parts import KeeperParts
from tidegate_operator.pool import PoolStatus
from tidegate_operator.registry import Key
from tidegate_operator.turn import Turn
from tidegate_operator.workload import selector_of, selector_text

_log = structlog.stdlib.get_logger(module=__name__)

# With many pools more seconds pass, so that all of them together write so many times a second.
_NUMBERS_SECONDS: Final = 5.0
_WRITES_PER_SECOND: Final = 20.0
_MOVING: Final = frozenset(
    {
        *("queueDepth", "waiting", "running", "oldestSeconds", "serviceSeconds", "tokensPerJob"),
        *("usdPerJob", "reason"),
    }
)


class Telling:
    """What is told of one pool."""

    def __init__(self, key: Key, parts: KeeperParts) -> None:
        self._key = key
        self._parts = parts
        self._told_at = float("-inf")
        self._warned: tuple[str, str] | None = None
        self._change: tuple[int, int] | None = None
        self._would: int | None = None
        self._labels: tuple[str, str] | None = None

    async def tell(self, turn: Turn) -> None:
        """Writes what is new. Raises as `Writer.status`."""
        self._measure(turn)
        await self._tell_events(turn)
        await self._tell_status(turn)

    def close(self) -> None:
        """The pool is no more."""
        if self._labels is not None:
            self._parts.metrics.forget(*self._labels)

    async def _tell_status(self, turn: Turn) -> None:
        previous = turn.seen.status
        status = self._status(turn, previous)
        if status == previous:
            return
        now = self._parts.clock()
        seconds = max(_NUMBERS_SECONDS, len(self._parts.registry.pools) / _WRITES_PER_SECOND)
        urgent = _still(status.as_object()) != _still(previous.as_object())
        if not urgent and now - self._told_at < seconds:
            return
        try:
            written = await self._parts.writer.status(turn.body, status.as_object())
        except ConflictError:
            if urgent:
                raise
            return  # The pool has changed; the next look tells of what it is then.
        self._told_at = now
        self._parts.registry.saw_pool(written)

    def _status(self, turn: Turn, previous: PoolStatus) -> PoolStatus:
        selector = None
        if turn.pool is not None:
            selector = selector_text(selector_of(turn.pool, self._parts.template))
        return status_of(
            found_of(turn),
            _figures_of(turn),
            previous,
            selector=selector,
            generation=turn.seen.generation,
            now=datetime.now(UTC),
            scaled=turn.change is not None,
        )

    async def _tell_events(self, turn: Turn) -> None:
        try:
            await self._tell_change(turn)
            await self._tell_fault(turn)
        except ApiServerError as error:
            # What is told is not what is done.
            _log.warning("an event was not written", pool="/".join(self._key), why=str(error))

    async def _tell_change(self, turn: Turn) -> None:
        # The same value, kept since a status could not be written, was told already.
        if turn.change is None or turn.change is self._change:
            await self._tell_dry_run(turn)
            return
        self._change = turn.change
        before, after = turn.change
        direction = "out" if after > before else "in"
        limiter = turn.decision.limiter.value if turn.decision is not None else "Held"
        self._parts.metrics.decisions.labels(direction, limiter).inc()
        reason = "ScaledOut" if after > before else "ScaledIn"
        message = f"From {before} to {after}: {turn.why}"
        _log.info(
            "scaled",
            pool="/".join(self._key),
            before=before,
            after=after,
            limiter=limiter,
            why=turn.why,
        )
        await self._parts.writer.event(turn.body, reason, message, warning=False)

    async def _tell_dry_run(self, turn: Turn) -> None:
        would = turn.target if turn.seen.dry_run and not turn.seen.paused else None
        if would is None or would == turn.replicas:
            self._would = None
        elif would != self._would:
            self._would = would
            message = f"From {turn.replicas or 0} to {would}, were it no dry run: {turn.why}"
            await self._parts.writer.event(turn.body, "WouldScale", message, warning=False)

    async def _tell_fault(self, turn: Turn) -> None:
        fault = None if turn.fault is None else (turn.fault.reason.value, turn.fault.message)
        new = fault is not None and (self._warned is None or self._warned[0] != fault[0])
        self._warned = fault
        if new and fault is not None:
            await self._parts.writer.event(turn.body, *fault, warning=True)

    def _measure(self, turn: Turn) -> None:
        queue = str(turn.body["spec"].get("queue", ""))
        labels = ("/".join(self._key), queue)
        self._labels = labels
        metrics, found = self._parts.metrics, found_of(turn)
        metrics.desired.labels(*labels).set(found.desired or 0)
        metrics.current.labels(*labels).set(found.current or 0)
        metrics.ready.labels(*labels).set(found.ready)
        metrics.degraded.labels(*labels).set(1 if turn.fault is not None or found.outage else 0)
        if found.waiting is None or found.running is None:
            metrics.know_nothing(*labels)
        else:
            metrics.depth.labels(*labels).set(found.waiting + found.running)
            metrics.oldest.labels(*labels).set(oldest_of(turn))


def found_of(turn: Turn) -> Found:
    """What is known of a pool, as its conditions take it. Pure."""
    look = turn.look
    depth = None if look is None else look.interactive.depth + look.batch.depth
    running = None if turn.signals is None else turn.signals.running
    return Found(
        fault=turn.fault,
        desired=turn.target if turn.target is not None else turn.seen.status.desired_replicas,
        current=turn.replicas,
        ready=turn.ready,
        paused=turn.seen.paused,
        dry_run=turn.seen.dry_run,
        outage=turn.signals is not None and turn.signals.blocked,
        pods_fail=_pods_fail(turn),
        no_route=look is not None and not look.routed,
        # What is parked for its provider waits too, in the eyes of a person.
        waiting=None if depth is None or running is None else max(depth - running, 0),
        running=running,
    )


def oldest_of(turn: Turn) -> float:
    """Seconds that the oldest job has waited, in the eyes of a person; 0 where none waits.

    Jobs that were handed back or are parked wait too. Which of the delivered ones they are is not
    known, so the oldest of all delivered ones stands for them.
    """
    if turn.look is None or turn.signals is None:
        return 0.0
    look = turn.look
    delivered = look.interactive.num_ack_pending + look.batch.num_ack_pending
    unheld = delivered > turn.signals.running
    back = (look.ages.unacknowledged or 0.0) if unheld else 0.0
    return max(turn.signals.oldest_seconds, back)


def _pods_fail(turn: Turn) -> str:
    """Why Kubernetes does not make the pods, in its words; empty where it does."""
    failing = {("ReplicaFailure", "True"), ("Progressing", "False")}
    conditions = () if turn.current is None else turn.current["status"].get("conditions") or ()
    said = (
        each["message"] or each["reason"] or each["type"]
        for each in conditions
        if (each["type"], each["status"]) in failing
    )
    return " ".join(dict.fromkeys(said))


def _figures_of(turn: Turn) -> Figures | None:
    if turn.decision is None or turn.signals is None or turn.means is None:
        return None
    return Figures(
        oldest_seconds=oldest_of(turn),
        service_seconds=turn.means.service_seconds,
        tokens_per_job=turn.means.tokens_per_job,
        usd_per_job=turn.means.usd_per_job,
        limiter=turn.decision.limiter.value,
        reason=turn.decision.reason,
    )


def _still(status: dict[str, Any]) -> dict[str, Any]:
    """Of a status, what matters at once: all but what moves, and the words of conditions."""
    kept = {name: value for name, value in status.items() if name not in _MOVING}
    conditions = status.get("conditions") or ()
    told = [{name: each.get(name) for name in ("type", "status", "reason")} for each in conditions]
    return kept | {"conditions": told}
