"""What the cluster holds, as far as the watch has told: pools, their Deployments, autoscalers.

Of each object only what is used is kept: a thousand pools are to fit into little memory. Nothing
goes back in time: an older version of an object that is known is passed over.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from tidegate.chassis.kubernetes_api import Object
from tidegate_operator.names import GROUP


class Key(NamedTuple):
    """An object's name in its namespace; a pool's Deployment has the pool's."""

    namespace: str
    name: str


class Registry:
    """`on_change` hears of each pool that is new, other, gone, or whose Deployment is."""

    def __init__(self, on_change: Callable[[Key], object] = lambda _: None) -> None:
        self._on_change = on_change
        self.pools: dict[Key, Object] = {}
        self.deployments: dict[Key, Object] = {}
        # Those of Deployments, which are somebody else's.
        self.autoscalers: dict[Key, Object] = {}
        # The pools of each queue, oldest first: the first has it.
        self._by_queue: dict[str, list[tuple[str, str, Key]]] = {}

    def saw_pool(self, body: Object, *, gone: bool = False) -> None:
        """The watch, or an answer to a write, has told of a pool."""
        self._saw(self.pools, _pool(body), gone=gone)

    def saw_deployment(self, body: Object, *, gone: bool = False) -> None:
        """Likewise of a Deployment."""
        self._saw(self.deployments, _deployment(body), gone=gone)

    def saw_autoscaler(self, body: Object, *, gone: bool = False) -> None:
        """Likewise of a HorizontalPodAutoscaler."""
        key = key_of(body)
        before = self.autoscalers.pop(key, None)
        scaled = _scaled_by(body)
        if not gone and scaled is not None:
            self.autoscalers[key] = {"metadata": _metadata(body), "scaled": scaled}
        for changed in {scaled, None if before is None else before["scaled"]}:
            if changed in self.pools:
                self._on_change(changed)

    def autoscaler_of(self, key: Key) -> str | None:
        """The name of an autoscaler that scales the Deployment of this name."""
        found = (name for name, body in self.autoscalers.items() if body["scaled"] == key)
        return next((each.name for each in found), None)

    def holder_of(self, queue: str) -> Key | None:
        """The oldest pool of a queue, which alone may serve it."""
        pools = self._by_queue.get(queue)
        return pools[0][2] if pools else None

    def queues(self) -> set[str]:
        """The queues that pools are for."""
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
            del known[key]
            if body["scaled"] in self.pools:
                self._on_change(body["scaled"])

    def _saw(self, known: dict[Key, Object], body: Object, *, gone: bool) -> None:
        key = key_of(body)
        before = known.get(key)
        if before is not None and not _is_newer(body, before, gone=gone):
            return
        if gone:
            self._forget(known, key)
            return
        known[key] = body
        if known is self.pools:
            self._index(key, before, body)
        if key in self.pools and (before is None or _gist(before) != _gist(body)):
            self._on_change(key)

    def _forget(self, known: dict[Key, Object], key: Key) -> None:
        before = known.pop(key, None)
        if before is None:
            return
        if known is self.pools:
            self._index(key, before, None)
        if known is self.pools or key in self.pools:
            self._on_change(key)

    def _index(self, key: Key, before: Object | None, body: Object | None) -> None:
        old, new = (None if each is None else _rank(each, key) for each in (before, body))
        if old == new:
            return
        touched = {rank[0] for rank in (old, new) if rank is not None}
        if old is not None:
            queue, *rank = old
            self._by_queue[queue].remove((rank[0], rank[1], key))
        if new is not None:
            queue, created, uid = new
            self._by_queue.setdefault(queue, []).append((created, uid, key))
            self._by_queue[queue].sort()
        for queue in touched:
            others = self._by_queue.get(queue) or []
            if not others:
                self._by_queue.pop(queue, None)
            # The next in line may serve it now.
            for _, _, other in others:
                if other != key:
                    self._on_change(other)


def key_of(body: Object) -> Key:
    """The name and the namespace of an object."""
    metadata = body["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def _scaled_by(autoscaler: Object) -> Key | None:
    target = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    if target.get("kind") != "Deployment":
        return None
    return Key(key_of(autoscaler).namespace, str(target.get("name")))


def _rank(body: Object, key: Key) -> tuple[str, str, str]:
    metadata = body["metadata"]
    queue = str((body.get("spec") or {}).get("queue", ""))
    return queue, metadata.get("creationTimestamp", ""), metadata.get("uid") or str(key)


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
    kept = ("uid", "generation", "deletionTimestamp", "annotations", "ownerReferences")
    return (*(metadata.get(name) for name in kept), status)


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
    status = body.get("status") or {}
    return {
        "metadata": metadata | {"managedFields": managers},
        "spec": {"replicas": (body.get("spec") or {}).get("replicas", 1)},
        "status": {name: status.get(name, 0) for name in ("replicas", "readyReplicas")},
    }
