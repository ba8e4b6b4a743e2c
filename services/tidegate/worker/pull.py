"""Requests for a consumer's messages (ADR-37 and the pull consumer's API of the server).

A puller has one request outstanding at most, on an inbox of its own, so that every message and
every status can be put to the account of the request that it answers. A request whose end is never
heard (a server that died, froze or lost its leader) is given up after a silence that the heartbeats
would have broken, together with its inbox: then the server drops it too.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import structlog

from tidegate.chassis.nats_connection import NatsConnection, nats_unavailable
from tidegate.contracts.errors import Unavailable
from tidegate.contracts.subjects import JOBS_STREAM
from tidegate.worker.delivery import Message
from tidegate.worker.metrics import WorkerMetrics

_log = structlog.stdlib.get_logger(module=__name__)

_EXPIRES_SECONDS: Final = 20.0
_HEARTBEAT_SECONDS: Final = 4.0
_SILENCE_SECONDS: Final = 2.5 * _HEARTBEAT_SECONDS
# How long a request that takes only what waits may take to end.
_AT_ONCE_SECONDS: Final = 2.0

_HEARTBEAT: Final = "100"
_NO_MESSAGES: Final = "404"
_EXPIRED: Final = "408"


class _Subscription(Protocol):
    async def unsubscribe(self, limit: int = 0) -> None: ...

    async def drain(self) -> None: ...


@dataclass(slots=True)
class _Inbox:
    subject: str
    subscription: _Subscription


class Puller:
    """One request at a time for messages of `consumer`.

    `on_message` gets each delivered message; `on_end` is called when a request has ended, with
    whether it was refused. `backlog` says whether the last request was filled, so that more is
    likely to wait.
    """

    def __init__(
        self,
        nats: NatsConnection,
        consumer: str,
        metrics: WorkerMetrics,
        *,
        on_message: Callable[[Message], None],
        on_end: Callable[["Puller", bool], None],
    ) -> None:
        self._nats = nats
        self._consumer = consumer
        self._metrics = metrics
        self._on_message = on_message
        self._on_end = on_end
        self._clock = asyncio.get_running_loop().time
        self._inbox: _Inbox | None = None
        self._give_up_at = 0.0
        self._patience = 0.0
        self._asked_at = 0.0
        self.asked = 0
        self.backlog = False

    async def ask(self, number: int, *, at_once: bool = False) -> None:
        """Asks for `number` messages: those that come in a while, or only those that wait.

        Raises Unavailable while disconnected.
        """
        inbox = self._inbox or await self._open()
        request: dict[str, Any] = {"batch": number}
        if at_once:
            request["no_wait"] = True
        else:
            request["expires"] = int(_EXPIRES_SECONDS * 1e9)
            request["idle_heartbeat"] = int(_HEARTBEAT_SECONDS * 1e9)
        self._patience = _AT_ONCE_SECONDS if at_once else _SILENCE_SECONDS
        self._heard()
        self.asked, self._asked_at = number, self._clock()
        try:
            with nats_unavailable():
                await self._nats.client.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{JOBS_STREAM}.{self._consumer}",
                    msgspec.json.encode(request),
                    reply=inbox.subject,
                )
        except BaseException:
            self.asked = 0
            raise

    def waits_since(self, moment: float) -> bool:
        """Whether a request is outstanding that was sent at a moment of the loop's or before."""
        return self.asked > 0 and self._asked_at <= moment

    async def give_up_if_silent(self) -> None:
        """Forgets a request of which nothing was heard for too long."""
        if self.asked and self._clock() >= self._give_up_at:
            self._metrics.pulls.labels("silent").inc()
            await self.forget()

    async def forget(self) -> None:
        """Forgets the request, and has the server do the same."""
        inbox, self._inbox, self.asked, self.backlog = self._inbox, None, 0, False
        if inbox is not None:
            with suppress(Unavailable), nats_unavailable():
                await inbox.subscription.unsubscribe()

    async def close(self) -> None:
        """Ends the request; messages that were on their way still arrive before this returns."""
        inbox, self._inbox, self.asked = self._inbox, None, 0
        if inbox is not None:
            with suppress(Unavailable), nats_unavailable():
                await inbox.subscription.drain()

    async def _open(self) -> _Inbox:
        client = self._nats.client
        subject = client.new_inbox()

        def receive(message: Message) -> None:
            self._receive(message, current=self._inbox is inbox)

        with nats_unavailable():
            subscription = await client.listen(subject, receive)
        inbox = self._inbox = _Inbox(subject, subscription)
        return inbox

    def _receive(self, message: Message, *, current: bool) -> None:
        status = message.headers.get("Status") if message.headers else None
        if status is None:
            if current and self.asked:
                self._count_one()
            self._on_message(message)
        elif current and status == _HEARTBEAT:
            self._heard()
        elif current and self.asked:
            self._end(status, (message.headers or {}).get("Description", ""))

    def _heard(self) -> None:
        self._give_up_at = self._clock() + self._patience

    def _count_one(self) -> None:
        self.asked -= 1
        self._heard()
        if not self.asked:
            self.backlog = True
            self._metrics.pulls.labels("filled").inc()
            self._on_end(self, False)

    def _end(self, status: str, description: str) -> None:
        self.asked, self.backlog = 0, False
        ended = {_NO_MESSAGES: "empty", _EXPIRED: "expired"}.get(status, "refused")
        self._metrics.pulls.labels(ended).inc()
        if ended == "refused":
            _log.warning("pull refused", consumer=self._consumer, status=status, why=description)
        self._on_end(self, ended == "refused")
