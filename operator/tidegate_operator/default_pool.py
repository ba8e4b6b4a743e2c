"""The pool of an installation itself: made where it is missing, owned by a ConfigMap of the chart.

A chart cannot hold a resource of a kind that it defines itself, since Helm looks all kinds up
before it makes the first object. So the chart gives the pool to the operator as a file, and with it
the name of an object of its own, with which the pool is deleted.
"""

from pathlib import Path

import structlog
import yaml

from tidegate.chassis.kubernetes_api import ApiServerError, ConflictError, KubernetesApi, Object
from tidegate.chassis.settings import SettingsError
from tidegate_operator.belonging import owners_of
from tidegate_operator.names import API_VERSION, FIELD_MANAGER, KIND
from tidegate_operator.paths import POOLS

_log = structlog.stdlib.get_logger(module=__name__)


def load_object(path: Path, what: str) -> Object:
    """A YAML or JSON file that holds one object. Raises SettingsError."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{what}: {path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{what}: {path} holds no object")
    return found


class DefaultPool:
    """`pool` is a WorkerPool's name and spec, as in a manifest; `owner` a ConfigMap's name."""

    def __init__(self, api: KubernetesApi, pool: Object, owner: str | None) -> None:
        self._api = api
        self._pool = pool
        self._owner = owner

    async def ensure(self) -> None:
        """Makes it, or makes it so, but for what people have changed themselves.

        Raises ApiServerError.
        """
        owners = await owners_of(self._api, self._owner)
        if owners is None:
            # The chart was uninstalled, and this process will be next.
            return
        name = self._pool["metadata"]["name"]
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {**self._pool["metadata"], "ownerReferences": owners},
            "spec": self._pool["spec"],
        }
        path = POOLS.path(self._api.namespace, name)
        try:
            await self._api.apply(path, body, manager=FIELD_MANAGER, force=False)
        except ConflictError as error:
            _log.warning("the pool was changed by hand, and stays so", pool=name, why=str(error))


async def try_to_ensure(pool: DefaultPool) -> bool:
    """Whether it could be; if not, the reason is logged."""
    try:
        await pool.ensure()
    except ApiServerError as error:
        _log.warning("the default pool could not be made", why=str(error))
        return False
    return True
