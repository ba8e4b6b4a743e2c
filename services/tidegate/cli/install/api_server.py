"""The one Secret of an installation in the Kubernetes API, and who owns it."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.chassis.kubernetes_api import ApiServerError, KubernetesApi


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret as it was read; `version` is what a write must find unchanged."""

    name: str
    version: str
    data: dict[str, bytes]


async def read_secret(api: KubernetesApi, name: str) -> Secret | None:
    """The Secret, or None where there is none. Raises ApiServerError."""
    found = await api.get(_path(api, "secrets", name))
    if found is None:
        return None
    data = {key: b64decode(value) for key, value in (found.get("data") or {}).items()}
    return Secret(name, found["metadata"]["resourceVersion"], data)


async def config_map_uid(api: KubernetesApi, name: str) -> str:
    """The identity of a ConfigMap. Raises ApiServerError, also where there is none."""
    found = await api.get(_path(api, "configmaps", name))
    if found is None:
        raise ApiServerError(f"there is no ConfigMap {name}")
    return str(found["metadata"]["uid"])


async def create_secret(
    api: KubernetesApi, name: str, data: Mapping[str, bytes], *, owner: tuple[str, str] | None
) -> None:
    """Makes a Secret. It goes when the ConfigMap goes whose name and identity are `owner`.

    Raises ConflictError where there is one by now, and ApiServerError.
    """
    metadata: dict[str, Any] = {"name": name}
    if owner is not None:
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner[0], "uid": owner[1]}
        metadata["ownerReferences"] = [reference]
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": _encoded(data)}
    await api.create(_path(api, "secrets"), body)


async def add_to_secret(api: KubernetesApi, secret: Secret, data: Mapping[str, bytes]) -> None:
    """Adds to a Secret. Raises ConflictError where it has changed since, and ApiServerError."""
    body = {"metadata": {"resourceVersion": secret.version}, "data": _encoded(data)}
    await api.patch(_path(api, "secrets", secret.name), body)


def _path(api: KubernetesApi, kind: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{api.namespace}/{kind}" + (f"/{name}" if name else "")


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {name: b64encode(value).decode() for name, value in data.items()}
