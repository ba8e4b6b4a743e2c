"""Whose the things are that the operator makes beside its pools: a ConfigMap's, of the chart."""

from tidegate.chassis.kubernetes_api import KubernetesApi, Object
from tidegate_operator.paths import CONFIG_MAPS


async def owners_of(api: KubernetesApi, config_map: str | None) -> list[Object] | None:
    """The owner references that name a ConfigMap in the own namespace: empty for None.

    None where there is no such ConfigMap: the chart was uninstalled. Raises ApiServerError.
    """
    if config_map is None:
        return []
    found = await api.get(CONFIG_MAPS.path(api.namespace, config_map))
    if found is None:
        return None
    uid = found["metadata"]["uid"]
    return [{"apiVersion": "v1", "kind": "ConfigMap", "name": config_map, "uid": uid}]
