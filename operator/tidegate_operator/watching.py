"""The watch of the Kubernetes API, by kopf: what it hears goes into the registry.

kopf has a thread and an event loop of its own. In ours it would take the handlers of signals over,
and cancel in its end every task that began after it. Its handlers are for events alone: kopf's
others, its timers and its daemons put finalizers on objects, which would keep them from being
deleted once no operator is there any more.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.kubernetes_api import ApiServerError, KubernetesApi, Object
from tidegate.chassis.settings import PodSettings
from tidegate.chassis.tasks import TaskGuard
from tidegate_operator.names import FIELD_MANAGER, POOL_LABEL
from tidegate_operator.paths import DEPLOYMENTS, HPAS, POOLS, Resource
from tidegate_operator.registry import Key, Registry, key_of

_CONDITION: Final = "watch"
# In this order: a pool is not looked at before one knows what it has.
_KINDS: Final = (HPAS, DEPLOYMENTS, POOLS)
_LOGIN_SECONDS: Final = 300
_STOP_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 2.0
# Where a kind is kept, and who hears of one that was told of, and of one that was read.
_Place = tuple[dict[Key, Object], Callable[..., object], Callable[[Key, Object], object]]
# Objects that are looked at beside each other: a listing of thousands is no flood of tasks.
_AT_ONCE: Final = 50


class Watch:
    """Lists what there is, then follows it. `namespaces`: none stands for all.

    Who cannot list keeps no pool, or not all: from `begin` on `health` says so. A replica that
    follows lists nothing, and needs not to.
    """

    def __init__(
        self,
        api: KubernetesApi,
        pod: PodSettings,
        registry: Registry,
        guard: TaskGuard,
        *,
        health: Health,
        namespaces: tuple[str, ...],
    ) -> None:
        self._api = api
        self._pod = pod
        self._registry = registry
        self._guard = guard
        self._health = health
        self._namespaces = namespaces
        # What could not be listed when that was last tried, and why.
        self._unlisted: dict[Resource, str] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def alive(self) -> bool:
        """Whether the watch goes on, or has not begun."""
        return self._thread is None or self._thread.is_alive() or self._stop.is_set()

    async def begin(self) -> None:
        """Returns when all that there is is known, for as long as that takes; then follows."""
        self._unlisted = {each: f"{each.plural} are not listed yet" for each in _KINDS}
        self._tell_health()
        while True:
            # The condition says why not, each reason once.
            with suppress(ApiServerError):
                await self.catch_up()
                break
            await asyncio.sleep(_RETRY_SECONDS)
        self._thread = threading.Thread(target=self._follow, name="kopf", daemon=True)
        self._thread.start()

    async def catch_up(self) -> None:
        """Takes in all that there is, and forgets what there is not: a watch that was cut for long
        does not tell what ended meanwhile. Raises ApiServerError.
        """
        for resource in _KINDS:
            await self._catch_up_with(resource)

    async def catch_up_with_pools(self) -> None:
        """Likewise with pools alone. Raises ApiServerError."""
        await self._catch_up_with(POOLS)

    async def stop(self, deadline: Deadline) -> None:
        """Follows no more."""
        self._stop.set()
        if self._thread is not None:
            seconds = min(_STOP_SECONDS, deadline.remaining())
            await asyncio.to_thread(self._thread.join, seconds)

    async def _catch_up_with(self, resource: Resource) -> None:
        try:
            await self._list(resource)
        except ApiServerError as error:
            self._unlisted[resource] = str(error)
            self._tell_health()
            raise
        self._unlisted.pop(resource, None)
        self._tell_health()

    def _tell_health(self) -> None:
        why = "; ".join(self._unlisted.values())
        self._health.set(_CONDITION, not why, why)

    async def _list(self, resource: Resource) -> None:
        known, saw, read = self._place(resource)
        # From before the listing: what comes meanwhile may not be on it.
        left = dict(known)
        selector = POOL_LABEL if resource is DEPLOYMENTS else ""
        for namespace in self._namespaces or ("",):
            # Page by page: all Deployments of a thousand pools are many megabytes.
            async for page in self._api.pages(resource.path(namespace), selector):
                for body in page:
                    key = key_of(body)
                    before = left.pop(key, None)
                    if before is not None and known.get(key) is before:
                        # Whatever its version: the store may have been restored from a backup.
                        read(key, body)
                    else:
                        saw(body)
        self._registry.forget(known, left.values())

    def _place(self, resource: Resource) -> _Place:
        registry = self._registry
        if resource is POOLS:
            return registry.pools, registry.saw_pool, registry.read_pool
        if resource is DEPLOYMENTS:
            return registry.deployments, registry.saw_deployment, registry.read_deployment
        saw = registry.saw_autoscaler
        return registry.autoscalers, saw, lambda _, body: saw(body)

    # In kopf's thread.

    def _follow(self) -> None:
        failed: BaseException | None = None
        try:
            asyncio.run(self._operate())
        except BaseException as error:  # whatever it is, the watch is over
            failed = error
        self._ended(failed)

    async def _operate(self) -> None:
        tasks = await kopf.spawn_tasks(
            registry=self._handlers(),
            settings=_settings(),
            standalone=True,
            # kopf would ask for the user's name, which a number in a container has not.
            identity=FIELD_MANAGER,  # type: ignore[arg-type]
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )
        for task in tasks:
            task.add_done_callback(self._task_ended)
        await kopf.run_tasks(tasks)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        """None of them ends before its time; where one did, kopf may wait for ever for the rest."""
        self._ended(None if task.cancelled() else task.exception())

    def _ended(self, why: BaseException | None) -> None:
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(
                self._guard.fail, "watch", "the watch of the cluster has ended", why
            )

    def _handlers(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for resource in _KINDS:
            _, saw, _ = self._place(resource)
            place = (resource.group, resource.version, resource.plural)
            kopf.on.event(*place, registry=registry, id=resource.plural)(self._handler(saw))
        return registry

    def _handler(self, saw: Callable[..., object]) -> Callable[..., Any]:
        async def heard(event: Any, **_: Any) -> None:
            gone = event["type"] == "DELETED"
            self._loop.call_soon_threadsafe(_tell, saw, event["object"], gone)

        return heard

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        # The token in the file is another after a while: it is read anew long before it runs out.
        return kopf.ConnectionInfo(
            server=self._pod.url,
            ca_path=str(self._pod.authority),
            token=self._pod.read("token"),
            default_namespace=self._api.namespace,
            expiration=datetime.now(UTC) + timedelta(seconds=_LOGIN_SECONDS),
        )


def _tell(saw: Callable[..., object], body: Object, gone: bool) -> None:
    saw(body, gone=gone)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Events are ours to write. Whether the kinds are there was seen when they were listed, and who
    # may only look at some namespaces may not look for others.
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.queueing.worker_limit = _AT_ONCE
    settings.queueing.idle_timeout = 0.5
    settings.networking.error_backoffs = (0.5, 1, 2, 3, 5)
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.label_selectors[DEPLOYMENTS.group, DEPLOYMENTS.plural] = POOL_LABEL
    return settings
