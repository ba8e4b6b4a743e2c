"""What the cluster holds, as far as the watch has told: pools, their Deployments, autoscalers.

Of each object only what is used is kept: a thousand pools are to fit into little memory. Nothing
that is told goes back in time: an older version of an object that is known is passed over. What was
read on purpose replaces what is known.
"""

from bisect import insort
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from tidegate.chassis.kubernetes_api import Object
from tidegate_operator.names import GROUP
from tidegate_operator.pool import InvalidPool, parse_pool


class Key(NamedTuple):
    """An object's name in its namespace; a pool's Deployment has the pool's."""

    namespace: str
    name: str


class _Rank(NamedTuple):
    """Where a pool stands among those of its queue: the least has it, if it is fit.

    `unfit`: it is no valid pool, or is being deleted, and serves nothing. `foreign`: it is not of
    the operator's own namespace, in which others could else be robbed of their queue.
    """

    unfit: bool
    foreign: bool
    created: str
    uid: str
    key: Key


class Registry:
    """`on_change` hears of each pool that is new, other, gone, or whose Deployment is.

    `own` is the operator's namespace, whose pools come before all others; empty: none does.
    """

    def __init__(self, on_change: Callable[[Key], object] = lambda _: None, own: str = "") -> None:
        self._on_change = on_change
        self._own = own
        self.pools: dict[Key, Object] = {}
        self.deployments: dict[Key, Object] = {}
        # Those of Deployments, which are somebody else's.
        self.autoscalers: dict[Key, Object] = {}
        self._scaled_by: dict[Key, set[str]] = {}
        # The pools of each queue, the one that may serve it first.
        self._by_queue: dict[str, list[_Rank]] = {}
        self._ranks: dict[Key, tuple[str, _Rank]] = {}

    def saw_pool(self, body: Object, *, gone: bool = False) -> None:
        """The watch, or an answer to a write, has told of a pool."""
        self._saw(self.pools, _pool(body), gone=gone)

    def saw_deployment(self, body: Object, *, gone: bool = False) -> None:
        """Likewise of a Deployment."""
        self._saw(self.deployments, _deployment(body), gone=gone)

    def saw_autoscaler(self, body: Object, *, gone: bool = False) -> None:
        """Likewise of a HorizontalPodAutoscaler."""
        key = key_of(body)
        before = self._unscale(key)
        scaled = None if gone else _scaled_by(body)
        if scaled is not None:
            self.autoscalers[key] = {"metadata": _metadata(body), "scaled": scaled}
            self._scaled_by.setdefault(scaled, set()).add(key.name)
        for changed in {scaled, before}:
            if changed in self.pools:
                self._on_change(changed)

    def read_pool(self, key: Key, body: Object | None) -> None:
        """A GET has found this, or nothing: so it is, whatever version was known before.

        Versions go back where the API server's store was restored from a backup.
        """
        self._read(self.pools, key, None if body is None else _pool(body))

    def read_deployment(self, key: Key, body: Object | None) -> None:
        """Likewise of a Deployment."""
        self._read(self.deployments, key, None if body is None else _deployment(body))

    def autoscaler_of(self, key: Key) -> str | None:
        """The name of an autoscaler that scales the Deployment of this name."""
        return min(self._scaled_by.get(key, ()), default=None)

    def holder_of(self, queue: str) -> Key | None:
        """The pool that alone may serve a queue: the oldest, and the own namespace's before all.

        None where there is none that is valid and stays.
        """
        ranks = self._by_queue.get(queue)
        return ranks[0].key if ranks and not ranks[0].unfit else None

    def queues(self) -> set[str]:
        """The queues that pools are for, those that cannot be acted on included."""
        return set(self._by_queue)

    def forget(self, known: dict[Key, Object], bodies: Iterable[Object]) -> None:
        """These have gone while nobody watched. `known` is one of the attributes of this.

        One that was made anew meanwhile, or is another, is none of them.
        """
        for body in bodies:
            key = key_of(body)
            if known.get(key) is not body:
                continue
            if known is not self.autoscalers:
                self._forget(known, key)
                continue
            scaled = self._unscale(key)
            if scaled in self.pools:
                self._on_change(scaled)

    def _saw(self, known: dict[Key, Object], body: Object, *, gone: bool) -> None:
        key = key_of(body)
        before = known.get(key)
        if before is None or _is_newer(body, before, gone=gone):
            self._read(known, key, None if gone else body)

    def _read(self, known: dict[Key, Object], key: Key, body: Object | None) -> None:
        if body is None:
            self._forget(known, key)
            return
        before = known.get(key)
        known[key] = body
        if known is self.pools and (before is None or _identity(before) != _identity(body)):
            self._index(key, body)
        if key in self.pools and (before is None or _gist(before) != _gist(body)):
            self._on_change(key)

    def _forget(self, known: dict[Key, Object], key: Key) -> None:
        if known.pop(key, None) is None:
            return
        if known is self.pools:
            self._index(key, None)
        if known is self.pools or key in self.pools:
            self._on_change(key)

    def _unscale(self, key: Key) -> Key | None:
        """Forgets an autoscaler; returns what it scaled."""
        before = self.autoscalers.pop(key, None)
        if before is None:
            return None
        scaled: Key = before["scaled"]
        names = self._scaled_by[scaled]
        names.discard(key.name)
        if not names:
            del self._scaled_by[scaled]
        return scaled

    def _index(self, key: Key, body: Object | None) -> None:
        old = self._ranks.pop(key, None)
        new = None if body is None else (_queue_of(body), self._rank(key, body))
        if new is not None:
            self._ranks[key] = new
        if old == new:
            return
        for place in (old, new):
            if place is not None:
                self._by_queue.setdefault(place[0], [])
        if old is not None:
            self._by_queue[old[0]].remove(old[1])
        if new is not None:
            insort(self._by_queue[new[0]], new[1])
        for queue in {place[0] for place in (old, new) if place is not None}:
            self._tell_others(queue, key)

    def _tell_others(self, queue: str, changed: Key) -> None:
        """The next in line may serve the queue now, or none of them any more."""
        if not self._by_queue[queue]:
            del self._by_queue[queue]
        for rank in self._by_queue.get(queue, ())[:]:
            if rank.key != changed:
                self._on_change(rank.key)

    def _rank(self, key: Key, body: Object) -> _Rank:
        metadata = body["metadata"]
        return _Rank(
            unfit=not _is_fit(body),
            foreign=bool(self._own) and key.namespace != self._own,
            created=metadata.get("creationTimestamp", ""),
            uid=metadata.get("uid") or str(key),
            key=key,
        )


def key_of(body: Object) -> Key:
    """The name and the namespace of an object."""
    metadata = body["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def _scaled_by(autoscaler: Object) -> Key | None:
    target = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    if target.get("kind") != "Deployment":
        return None
    return Key(key_of(autoscaler).namespace, str(target.get("name")))


def _queue_of(body: Object) -> str:
    return str(body["spec"].get("queue", ""))


def _is_fit(body: Object) -> bool:
    try:
        return not parse_pool(body).deleting
    except InvalidPool:
        return False


def _identity(body: Object) -> tuple[object, ...]:
    """What else of a pool may be another only together with one of these."""
    metadata = body["metadata"]
    return tuple(metadata.get(name) for name in ("uid", "generation", "deletionTimestamp"))


def _is_newer(body: Object, before: Object, *, gone: bool) -> bool:
    new, old = body["metadata"], before["metadata"]
    if new.get("uid") != old.get("uid"):
        # Another of the same name: the end of the one before is no news of it.
        return not gone
    return int(new["resourceVersion"]) >= int(old["resourceVersion"])


def _gist(body: Object) -> tuple[object, ...]:
    """What of an object makes a difference: a pool's status is the operator's own word."""
    metadata = body["metadata"]
    status = body["status"] if "managedFields" in metadata else None
    kept = ("uid", "generation", "deletionTimestamp", "annotations", "labels", "ownerReferences")
    return (*(metadata.get(name) for name in kept), status)


# Those of a Deployment that say why pods are not made.
_CONDITIONS: Final = frozenset({"ReplicaFailure", "Progressing"})
_METADATA: Final = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "annotations",
    "ownerReferences",
)


def _metadata(body: Object) -> Object:
    found = body["metadata"]
    kept = {name: found[name] for name in _METADATA if name in found}
    annotations = kept.get("annotations") or {}
    ours = {name: value for name, value in annotations.items() if name.startswith(f"{GROUP}/")}
    return kept | {"annotations": ours}


def _pool(body: Object) -> Object:
    return {
        "metadata": _metadata(body),
        "spec": body.get("spec") or {},
        "status": body.get("status") or {},
    }


def _deployment(body: Object) -> Object:
    metadata = _metadata(body)
    # Only one whose fields an apply does not own yet is to be seen to.
    managers = [
        {name: each.get(name) for name in ("manager", "operation", "subresource")}
        for each in body["metadata"].get("managedFields") or ()
    ]
    labels = body["metadata"].get("labels") or {}
    status = body.get("status") or {}
    numbers = {name: status.get(name, 0) for name in ("replicas", "readyReplicas")}
    conditions = [
        {name: each.get(name, "") for name in ("type", "status", "reason", "message")}
        for each in status.get("conditions") or ()
        if each.get("type") in _CONDITIONS
    ]
    return {
        "metadata": metadata | {"labels": labels, "managedFields": managers},
        "spec": {"replicas": (body.get("spec") or {}).get("replicas", 1)},
        "status": numbers | {"conditions": conditions},
    }
