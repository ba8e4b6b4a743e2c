"""What the operator writes into the cluster, each with its precondition.

Every write names the version of the object that it was decided on, so that the API server refuses
what was decided on something older. A new leader writes its epoch on each Deployment that it keeps
before all else, so that whatever a former one still holds in hand is older. Events and deletion
costs alone name no version: they decide nothing.

Server-side apply has no "only if it is not there". So an object is made by a plain create, which is
refused where there is one, and its fields are then handed over to the apply, as client-go's
csaupgrade does it; without that an apply could never take a field away again.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from tidegate.chassis.kubernetes_api import JSON_PATCH, ConflictError, KubernetesApi, Object
from tidegate_operator.lease import Term
from tidegate_operator.names import API_VERSION, FIELD_MANAGER, GROUP, KIND
from tidegate_operator.paths import EVENTS, PODS, POOLS, Resource
from tidegate_operator.registry import Key

_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
# How often one tries to hand the fields of a new object over, beside its controller's own writes.
_CLAIMS: Final = 5


class NotLeadingError(Exception):
    """This process leads no more: nothing may be written."""


class NameTakenError(Exception):
    """The object is there already, and it is not the pool's. The text is its kind."""


class Writer:
    """Raises NotLeadingError for every write after the term, and ApiServerError as the API does."""

    def __init__(
        self, api: KubernetesApi, term: Callable[[], Term | None], *, identity: str
    ) -> None:
        self._api = api
        self._term = term
        self._identity = identity

    @property
    def epoch(self) -> str:
        """What marks the writes of this term."""
        term = self._term()
        return "" if term is None else term.epoch

    @property
    def leads(self) -> bool:
        """Whether this process may write now."""
        term = self._term()
        return term is not None and term.lasts

    async def put(
        self, resource: Resource, key: Key, manifest: Object, current: Object | None
    ) -> Object:
        """The object as `manifest` has it; `current` is what that was decided on, None: nothing.

        Raises:
            ConflictError: it is not as it was.
            NameTakenError: it is there, and belongs to another.
        """
        self._check()
        if current is None:
            return await self._create(resource, key, manifest)
        version = current["metadata"]["resourceVersion"]
        if not _is_claimed(current):
            found = await self._api.get(resource.path(*key))
            if found is None or found["metadata"]["resourceVersion"] != version:
                raise ConflictError(f"{key.name} has changed", 409)
            version = (await self._claim(resource, key, found))["metadata"]["resourceVersion"]
        metadata = manifest["metadata"] | {"resourceVersion": version}
        self._check()
        return await self._api.apply(
            resource.path(*key), manifest | {"metadata": metadata}, manager=FIELD_MANAGER
        )

    async def status(self, pool: Object, status: Object) -> Object:
        """Writes the status of a pool as it was read. Raises ConflictError where it is another."""
        self._check()
        before = pool.get("status") or {}
        gone = dict.fromkeys(set(before) - set(status))
        metadata = pool["metadata"]
        body = {
            "metadata": {"resourceVersion": metadata["resourceVersion"]},
            "status": status | gone,
        }
        path = POOLS.path(metadata["namespace"], metadata["name"], "status")
        return await self._api.patch(path, body, manager=FIELD_MANAGER)

    async def event(self, pool: Object, reason: str, message: str, *, warning: bool) -> None:
        """Tells of a pool what `kubectl describe` shows."""
        self._check()
        metadata = pool["metadata"]
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name']}.{time.time_ns():x}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                **{name: metadata[name] for name in ("namespace", "name", "uid")},
                "resourceVersion": metadata["resourceVersion"],
            },
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": f"{GROUP}/operator",
            "reportingInstance": self._identity,
        }
        await self._api.create(EVENTS.path(metadata["namespace"]), body)

    async def deletion_cost(self, namespace: str, pod: str, cost: int) -> None:
        """Says how much a pod is missed when replicas are taken away: the least goes first."""
        self._check()
        body = {"metadata": {"annotations": {_DELETION_COST: str(cost)}}}
        await self._api.patch(PODS.path(namespace, pod), body)

    async def _create(self, resource: Resource, key: Key, manifest: Object) -> Object:
        try:
            # Strict: a field that Kubernetes does not know would be dropped without a word.
            query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
            made = await self._api.call("POST", resource.path(key.namespace), manifest, query=query)
        except ConflictError:
            found = await self._api.get(resource.path(*key))
            if found is None or owner_of(found) == owner_of(manifest):
                raise
            raise NameTakenError(manifest["kind"]) from None
        return await self._claim_new(resource, key, made)

    async def _claim_new(self, resource: Resource, key: Key, made: Object) -> Object:
        """The same of what was made just now, which its controller writes to at once."""
        for _ in range(_CLAIMS):
            try:
                return await self._claim(resource, key, made)
            except ConflictError:
                found = await self._api.get(resource.path(*key))
                if found is None:
                    raise
                made = found
        return made  # The next write claims it.

    async def _claim(self, resource: Resource, key: Key, found: Object) -> Object:
        """Hands the fields that a create set over to the apply."""
        self._check()
        metadata = found["metadata"]
        managers = [
            each | {"operation": "Apply"} if _is_made(each) else each
            for each in metadata["managedFields"]
        ]
        # To put its version there is what the API server takes for a precondition; a `test` that
        # fails is no conflict, but a patch that cannot be.
        version = metadata["resourceVersion"]
        patch = [
            {"op": "replace", "path": "/metadata/managedFields", "value": managers},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        ]
        return await self._api.patch(resource.path(*key), patch, JSON_PATCH)

    def _check(self) -> None:
        if not self.leads:
            raise NotLeadingError


def owner_of(body: Object) -> str:
    """The identity of what owns an object as its controller; empty for nobody."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("controller")), "")


def _is_claimed(body: Object) -> bool:
    return not any(_is_made(each) for each in body["metadata"].get("managedFields") or ())


def _is_made(entry: dict[str, Any]) -> bool:
    """Whether this entry of `managedFields` is that of our own create."""
    plain = entry.get("operation") == "Update" and not entry.get("subresource")
    return entry.get("manager") == FIELD_MANAGER and plain
