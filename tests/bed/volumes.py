"""Volumes: a default StorageClass, and folders of the machine for its claims.

The provisioner that Kubernetes has for hostPath makes folders for root alone. These are made
beforehand, anyone may write there, and one that a claim has left is emptied and given again.
"""

import shutil
from pathlib import Path
from typing import Any, Final

CLASS: Final = "standard"
COUNT: Final = 48


def objects(folder: Path) -> list[dict[str, Any]]:
    """The class and the volumes, whose folders are made below `folder`."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }
    return [storage_class, *(_volume(folder / str(number)) for number in range(COUNT))]


def make_folders(folder: Path) -> None:
    """Empty ones that anyone may write."""
    for number in range(COUNT):
        _empty(folder / str(number))


def released(volumes: list[dict[str, Any]]) -> list[str]:
    """The names of those whose claim is gone; with Retain they wait to be freed."""
    return [
        each["metadata"]["name"]
        for each in volumes
        if each.get("status", {}).get("phase") == "Released"
    ]


def empty(volume: dict[str, Any]) -> None:
    """Remove what the last claim left in it."""
    _empty(Path(volume["spec"]["hostPath"]["path"]))


def _empty(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    path.chmod(0o777)


def _volume(path: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{path.name}"},
        "spec": {
            "capacity": {"storage": "50Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(path), "type": "Directory"},
        },
    }
