"""The one NATS connection of a process.

It connects for as long as it takes, and reconnects for ever. While it is disconnected, publishes
fail at once instead of filling a buffer whose content might be stored long after its sender gave
up. What waiting cannot cure ends the process: wrong credentials, a missing permission, a connection
that the library closed for good. A hint, which nobody has to hear, is no reason to end.
"""

import asyncio
import random
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.logs import describe_error
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.nats_client import NatsClient
from tidegate.chassis.settings import NatsSettings
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import TidegateError, Unavailable

_log = structlog.stdlib.get_logger(module=__name__)

ReconnectHook = Callable[[], Awaitable[None]]

# Seconds; each process draws its own, so that they do not march in step.
_RECONNECT_WAIT = (0.05, 0.2)
_MAX_OUTSTANDING_PINGS = 2
_WATCH_SECONDS = 1.0
_LONG_OUTAGE_SECONDS = 10.0
_FLUSH_SECONDS = 1.0
_SLOW_CONSUMER_LOG_SECONDS = 10.0
# Not "authentication timeout": a busy server says so to whoever comes at the wrong moment.
_REFUSALS = ("permissions violation", "authorization violation", "authentication expired")
_REFUSED_PUBLISH = re.compile(r'permissions violation for publish to "?([a-z]+)\.', re.IGNORECASE)


class NatsConnection:
    """A component: `start` returns once connected, however long that takes.

    The readiness condition `nats` follows the connection. `client` and `jetstream` stay the same
    objects for life; subscriptions are renewed by the library after a reconnect, and hooks given to
    `on_reconnect` run then. Inboxes are named `_INBOX_<service>`, so that permissions can be given
    per service.
    """

    name = "nats"

    def __init__(
        self,
        settings: NatsSettings,
        health: Health,
        guard: TaskGuard,
        metrics: ChassisMetrics,
        *,
        service: str,
    ) -> None:
        self._settings = settings
        self._health = health
        self._guard = guard
        self._metrics = metrics
        self._service = service
        self._client = NatsClient()
        self._jetstream = self._client.jetstream()
        self._hooks: dict[ReconnectHook, asyncio.Task[None] | None] = {}
        self._attempted = False
        self._ever_connected = False
        self._stopping = False
        self._last_error: Exception | None = None
        self._slow_logged_at = float("-inf")
        # The first tokens of the subjects of hints, and of those that we may not publish.
        self._hints: set[str] = set()
        self._refused_hints: set[str] = set()
        health.set(self.name, False, "connecting")

    @property
    def client(self) -> NatsClient:
        """The library's client; usable after `start`."""
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """The library's JetStream context; usable after `start`."""
        return self._jetstream

    @property
    def max_payload(self) -> int:
        """The server's bound on a message in bytes; known after `start`."""
        return self._client.max_payload

    def on_reconnect(self, hook: ReconnectHook) -> Callable[[], None]:
        """Run `hook` after every reconnect (not after the first connect); returns its removal.

        A run that is still going when the connection comes back again is cancelled and begun anew.
        The hook may fail with a NATS error or a TidegateError; anything else is a fault.
        """
        self._hooks[hook] = None

        def remove() -> None:
            task = self._hooks.pop(hook, None)
            if task is not None:
                task.cancel()

        return remove

    async def start(self) -> None:
        """Connect, for as long as it takes."""
        self._attempted = True
        settings = self._settings
        with_password = settings.nats_password or settings.nats_password_file
        await self._client.connect(
            servers=settings.nats_servers,
            name=f"tidegate-{self._service}@{socket.gethostname()}",
            inbox_prefix=f"_INBOX_{self._service}",
            user=settings.nats_user,
            password=self._password if with_password else None,
            tls=self._tls(),
            connect_timeout=settings.nats_connect_timeout_seconds,  # type: ignore[arg-type]
            ping_interval=settings.nats_ping_interval_seconds,  # type: ignore[arg-type]
            max_outstanding_pings=_MAX_OUTSTANDING_PINGS,
            max_reconnect_attempts=-1,
            reconnect_time_wait=random.uniform(*_RECONNECT_WAIT),  # type: ignore[arg-type]
            pending_size=0,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
        )
        self._ever_connected = True
        self._set_connected()
        self._guard.spawn_eternal("nats-watch", self._watch())

    async def stop(self, deadline: Deadline) -> None:
        """Send what is buffered, then close."""
        self._stopping = True
        self._health.set(self.name, False, "closed")
        self._metrics.nats_connected.set(0)
        for task in self._hooks.values():
            if task is not None:
                task.cancel()
        if not self._attempted:
            return
        if self._client.is_connected:
            seconds = min(_FLUSH_SECONDS, deadline.remaining() / 2)
            await _at_the_end(self._client.flush(timeout=seconds))  # type: ignore[arg-type]
        await _at_the_end(self._client.close())
        self._close_socket()
        await asyncio.sleep(0)  # the loop closes it in its next round

    async def publish(
        self, subject: str, payload: bytes = b"", *, headers: dict[str, str] | None = None
    ) -> None:
        """Publish without an acknowledgement. Raises Unavailable while disconnected."""
        with nats_unavailable():
            await self._client.publish(subject, payload, headers=headers)

    async def hint(self, subject: str, payload: bytes = b"") -> None:
        """Publishes what nobody has to hear: it fails nothing, where it cannot be sent, or may not.

        A server whose users are of an older release refuses it. That is said once, and such hints
        are not tried again before the next connection.
        """
        family = subject.partition(".")[0]
        if family in self._refused_hints:
            return
        self._hints.add(family)
        with suppress(Unavailable):
            await self.publish(subject, payload)

    async def flush(self, *, timeout: float) -> None:  # noqa: ASYNC109
        """Returns when the server has read what was published, and all that it had sent is here.

        Raises Unavailable if it does not answer within `timeout` seconds.
        """
        with nats_unavailable():
            await self._client.flush(timeout=timeout)  # type: ignore[arg-type]

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout: float,  # noqa: ASYNC109
        headers: dict[str, str] | None = None,
    ) -> Msg:
        """One answer within `timeout` seconds. Raises Unavailable if none came.

        A request that got no answer may have been acted upon all the same.
        """
        with nats_unavailable():
            return await self._client.request(subject, payload, timeout=timeout, headers=headers)

    def _password(self) -> str:
        return self._settings.read_nats_password() or ""

    def _tls(self) -> ssl.SSLContext | None:
        path = self._settings.nats_tls_ca_file
        return None if path is None else ssl.create_default_context(cafile=path)

    def _set_connected(self) -> None:
        self._last_error = None
        self._metrics.nats_connected.set(1)
        self._health.set(self.name, True)
        _log.debug("nats connected", server=_without_credentials(self._client))

    def _set_disconnected(self, reason: str) -> None:
        self._metrics.nats_connected.set(0)
        self._health.set(self.name, False, reason)

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            self._on_slow_consumer(error)
        elif (family := _refused_family(error)) in self._hints:
            self._on_refused_hint(family)
        elif _is_refusal(error):
            self._guard.fail(self.name, f"refused: {error}", error)
        elif not self._client.is_connected:
            self._on_failed_attempt(error)
        elif _is_of_connection(error):
            _log.debug("nats error", error=describe_error(error))
        else:
            _log.error("a subscription's callback failed", exc_info=error)

    def _on_refused_hint(self, family: str) -> None:
        if family not in self._refused_hints:
            self._refused_hints.add(family)
            _log.warning("NATS refuses hints: give the user the right", publish=f"{family}.>")

    def _on_failed_attempt(self, error: Exception) -> None:
        """The first reason is told, before the first connect; later ones if the outage lasts."""
        if self._last_error is None and not self._ever_connected:
            self._set_disconnected(f"cannot connect: {describe_error(error)}")
        self._last_error = error
        self._close_socket()

    def _close_socket(self) -> None:
        """Of an attempt that failed: the library opens the next socket without closing this one,
        so that a server that accepts and never answers would cost one per attempt.
        """
        transport = getattr(self._client, "_transport", None)
        if transport is not None:
            transport.close()

    def _on_slow_consumer(self, error: nats.errors.SlowConsumerError) -> None:
        self._metrics.nats_slow_consumer.inc()
        now = asyncio.get_running_loop().time()
        if now - self._slow_logged_at >= _SLOW_CONSUMER_LOG_SECONDS:
            self._slow_logged_at = now
            _log.warning("messages dropped, too slow", subject=error.sub.subject)

    async def _on_disconnected(self) -> None:
        if not self._stopping:
            self._set_disconnected("disconnected")

    async def _on_reconnected(self) -> None:
        self._metrics.nats_reconnects.inc()
        self._refused_hints.clear()
        self._set_connected()
        for hook, previous in list(self._hooks.items()):
            if previous is not None:
                previous.cancel()
            self._hooks[hook] = self._guard.spawn("nats-reconnect-hook", _run_hook(hook))

    async def _on_closed(self) -> None:
        if not self._stopping:
            last = self._client.last_error
            why = describe_error(last) if last is not None else "no reason given"
            self._guard.fail(self.name, f"closed by the server: {why}", last)

    async def _watch(self) -> None:
        """Explain an outage that lasts, and catch the library's reconnect loop should it die."""
        dead_before = False
        seconds_out = 0.0
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            seconds_out = 0.0 if self._client.is_connected else seconds_out + _WATCH_SECONDS
            if seconds_out == _LONG_OUTAGE_SECONDS and self._last_error is not None:
                _log.warning("nats still out of reach", error=describe_error(self._last_error))
            task = getattr(self._client, "_reconnection_task", None)
            dead = self._client.is_reconnecting and (task is None or task.done())
            if dead and dead_before:
                self._guard.fail(self.name, "the reconnect loop has ended")
            dead_before = dead


@contextmanager
def nats_unavailable() -> Iterator[None]:
    """Turn the errors of a NATS call into Unavailable; the border at which nats errors end.

    JetStream's refusals (`nats.js.errors.APIError`) have meanings of their own and pass through.
    """
    try:
        yield
    except nats.js.errors.APIError:
        raise
    except (nats.errors.Error, ConnectionError, TimeoutError) as error:
        raise Unavailable("The message system cannot be reached.", retry_after=1.0) from error


async def _run_hook(hook: ReconnectHook) -> None:
    try:
        await hook()
    except (TidegateError, nats.errors.Error, TimeoutError, ConnectionError) as error:
        _log.warning("after a reconnect", error=describe_error(error))


async def _at_the_end(step: Awaitable[None]) -> None:
    """A step of closing; one that fails does not keep the next from being taken."""
    try:
        await step
    except (nats.errors.Error, OSError, RuntimeError) as error:
        _log.warning("nats closed with data unsent", error=describe_error(error))


def _refused_family(error: Exception) -> str:
    """The first token of the subject that we may not publish to; empty for any other error."""
    found = _REFUSED_PUBLISH.search(str(error))
    return found[1].lower() if found else ""


def _is_refusal(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, nats.errors.Error) and any(word in text for word in _REFUSALS)


def _is_of_connection(error: Exception) -> bool:
    return isinstance(error, nats.errors.Error | OSError | TimeoutError)


def _without_credentials(client: Client) -> str:
    url = client.connected_url
    return url.netloc.rpartition("@")[2] if url is not None else "unknown"
