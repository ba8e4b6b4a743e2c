"""The pools of an installation itself: made where missing, owned by a ConfigMap of the chart.

A chart cannot hold a resource of a kind that it defines itself, since Helm looks all kinds up
before it makes the first object. So the chart gives the pools to the operator as a file, and with
it the name of an object of its own, with which the pools are deleted.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import yaml

from tidegate.chassis.kubernetes_api import ApiServerError, ConflictError, KubernetesApi, Object
from tidegate.chassis.settings import SettingsError
from tidegate_operator.belonging import owners_of
from tidegate_operator.names import API_VERSION, FIELD_MANAGER, KIND
from tidegate_operator.paths import POOLS
from tidegate_operator.pool import LONGEST_NAME, InvalidPool, parse_spec

_log = structlog.stdlib.get_logger(module=__name__)

# A pool's status is written often, and each time the pool is another version.
_TRIES: Final = 5
# As in: conflict with "kubectl-patch" using tidegate.dev/v1alpha1: .spec.minReplicas
_FIELD: Final = re.compile(r"\.spec\.([A-Za-z.]*[A-Za-z])")


def load_object(path: Path, what: str) -> Object:
    """A YAML or JSON file that holds one object. Raises SettingsError."""
    found = _load(path, what)
    if not isinstance(found, dict):
        raise SettingsError(f"{what}: {path} holds no object")
    return found


def load_pools(path: Path, what: str) -> list[Object]:
    """The WorkerPools in a YAML or JSON file, which holds one or a list of them.

    Raises SettingsError, which names the file, the pool and what is wrong with it.
    """
    found: Any = _load(path, what)
    pools: list[Object] = found if isinstance(found, list) else [found]
    names: list[str] = []
    for index, pool in enumerate(pools):
        try:
            names.append(_checked_name(pool))
        except InvalidPool as error:
            place = f"[{index}]" if isinstance(found, list) else ""
            raise SettingsError(f"{what}: {path}{place}: {error}") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"{what}: {path}: {', '.join(twice)} is there more than once")
    return pools


class DefaultPools:
    """`pools` are names and specs of WorkerPools, as in manifests; `owner` is a ConfigMap's name.

    `leads`: whether this process may write now.
    """

    def __init__(
        self,
        api: KubernetesApi,
        pools: Sequence[Object],
        owner: str | None,
        leads: Callable[[], bool],
    ) -> None:
        self._api = api
        self._pools = pools
        self._owner = owner
        self._leads = leads
        self._said: dict[str, Sequence[str]] = {}

    async def ensure(self) -> bool:
        """Makes them, or makes them so, but for those that people have changed themselves.

        Whether all could be; if not, the reason is logged.
        """
        try:
            owners = await owners_of(self._api, self._owner)
        except ApiServerError as error:
            _log.warning("the default pools could not be made", why=str(error))
            return False
        if owners is None:
            # The chart was uninstalled, and this process will be next.
            return True
        # What is wrong with one is no reason to leave the others out.
        return all([await self._try_to_put(pool, owners) for pool in self._pools])

    async def _try_to_put(self, pool: Object, owners: list[Object]) -> bool:
        try:
            await self._put(pool, owners)
        except ApiServerError as error:
            name = pool["metadata"]["name"]
            _log.warning("a default pool could not be made", pool=name, why=str(error))
            return False
        return True

    async def _put(self, pool: Object, owners: list[Object]) -> None:
        """Applies it to the version that is there now, so that a former leader changes nothing."""
        metadata = {**pool["metadata"], "ownerReferences": owners}
        path = POOLS.path(self._api.namespace, metadata["name"])
        spec, refusal = pool["spec"], None
        for _ in range(_TRIES):
            found = await self._api.get(path)
            version = "" if found is None else str(found["metadata"]["resourceVersion"])
            try:
                await self._apply(path, metadata, version, spec)
                return
            except ConflictError as error:
                refusal = error
                fields = others_fields(str(error))
                spec = without(spec, fields)
                if fields:
                    self._say(metadata["name"], fields)
        if refusal is not None:
            raise refusal

    def _say(self, name: str, fields: Sequence[str]) -> None:
        """Once for each set of fields: it is looked at every minute."""
        if self._said.get(name) != fields:
            self._said[name] = fields
            _log.warning("changed by hand, and left so", pool=name, fields=", ".join(fields))

    async def _apply(self, path: str, metadata: Object, version: str, spec: Object) -> None:
        if not self._leads():
            return
        # An apply cannot say that nothing must be there: then the term alone has to do.
        precondition = {"resourceVersion": version} if version else {}
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": metadata | precondition,
            "spec": spec,
        }
        await self._api.apply(path, body, manager=FIELD_MANAGER, force=False)


def others_fields(refusal: str) -> list[str]:
    """The fields of a spec that somebody else has set, by the API server's words. Pure."""
    return sorted(set(_FIELD.findall(refusal)))


def without(spec: Object, fields: Sequence[str]) -> Object:
    """A spec that says nothing of these fields, each a path such as `scaling.utilization`. Pure."""
    kept = dict(spec)
    for field in fields:
        name, _, rest = field.partition(".")
        if rest and isinstance(kept.get(name), dict):
            kept[name] = without(kept[name], [rest])
        else:
            kept.pop(name, None)
    return kept


def _load(path: Path, what: str) -> object:
    try:
        found: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{what}: {path} cannot be read: {error}") from error
    return found


def _checked_name(pool: object) -> str:
    """The name of a pool that an API server would take. Raises InvalidPool."""
    if not isinstance(pool, dict):
        raise InvalidPool("is no object")
    metadata = pool.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise InvalidPool(f"metadata.name: is to be a text of 1 to {LONGEST_NAME} characters")
    parse_spec(pool.get("spec"))
    return name
