"""One text through a model: tokens, the network, the mean of its tokens, a vector of length 1.

The method is that of sentence-transformers (Reimers and Gurevych, 2019): the mean over all tokens,
those that mark beginning and end among them, then the L2 norm.
"""

from typing import Final

import numpy as np

# Neither package comes with types.
import onnxruntime as ort  # type: ignore[import-untyped]
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from tidegate.cache.embedders.cpu import this_cpu_multiplies_exactly
from tidegate.cache.embedders.models import Model, ModelError
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector

# More than any tokenizer makes of so many tokens of prose; the rest is not even read.
CHARACTERS_PER_TOKEN: Final = 16

_INPUTS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_ORT_ERRORS: Final = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


# What tokenizers call it.
_UNKNOWN: Final = ("[UNK]", "<unk>")


class Encoder:
    """A loaded model; use it on one thread at a time.

    A text is cut after `max_tokens` tokens, and before that after sixteen times as many
    characters: what is longer has the vector of its beginning. With `refuse_longer` it has none,
    and neither has one with characters that the model does not know.
    """

    def __init__(self, model: Model, *, max_tokens: int, refuse_longer: bool = False) -> None:
        """Loads it, which takes a while.

        Raises:
            ModelError: it is no model that can be run here.
        """
        self._max_tokens = max_tokens
        self._max_characters = max_tokens * CHARACTERS_PER_TOKEN
        self._refuse_longer = refuse_longer
        self._tokenizer = _load_tokenizer(model.tokenizer, max_tokens)
        named = (self._tokenizer.token_to_id(name) for name in _UNKNOWN)
        self._unknown = frozenset(each for each in named if each is not None)
        self._session = _load_session(model.onnx)
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._output = _output_of(self._session)
        try:
            self.dimension = len(self.encode("a"))
        except EmbedderError as error:
            raise ModelError(f"the embedding model does not work: {error}") from error

    def encode(self, text: str) -> Vector:
        """The text's vector; whatever the text holds, there is one.

        Raises:
            EmbedderError: the model gives no vector of this text, or the text is too long.
        """
        ids, cut = self._tokens(text)
        if cut and self._refuse_longer:
            raise EmbedderError(f"over {self._max_tokens} tokens, or one unknown to the model")
        row = np.array([ids], dtype=np.int64)
        every = {
            "input_ids": row,
            "attention_mask": np.ones_like(row),
            "token_type_ids": np.zeros_like(row),
        }
        given = {name: value for name, value in every.items() if name in self._inputs}
        try:
            (states,) = self._session.run([self._output], given)
        except _ORT_ERRORS as error:
            raise EmbedderError("the embedding model failed") from error
        # One text at a time has no padding: the mask is 1 everywhere.
        return _unit(states[0].mean(axis=0, dtype=np.float32))

    def _tokens(self, text: str) -> tuple[list[int], bool]:
        """Ids of the tokens, and whether some of the text is not in them."""
        start = text[: self._max_characters]
        # Half of a pair of surrogates can be in a str, and nowhere else.
        readable = start.encode("utf-8", "replace").decode("utf-8")
        encoding = self._tokenizer.encode(readable)
        lost = len(start) < len(text) or bool(encoding.overflowing)
        # All that the model has no token for is one to it: two such texts may differ unseen.
        return encoding.ids, lost or not self._unknown.isdisjoint(encoding.ids)


def _unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    # Also false where it is not a number.
    if not 0.0 < length < float("inf"):
        raise EmbedderError("the embedding model gave no direction")
    return np.asarray(vector / length, dtype=np.float32)


def _load_tokenizer(described: str, max_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(described)
    # The library raises nothing more special.
    except Exception as error:
        raise ModelError("tokenizer.json is no tokenizer") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _load_session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # The caller's thread alone: several are slower on a machine that has other work.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not this_cpu_multiplies_exactly():
        # Another way of multiplying, half as slow again, which gives the vectors of other machines.
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise ModelError("model.onnx is no model that can be run") from error
    unknown = {each.name for each in session.get_inputs()} - _INPUTS
    if unknown:
        raise ModelError(f"model.onnx asks for {', '.join(sorted(unknown))}, which nobody has")
    return session


def _output_of(session: ort.InferenceSession) -> str:
    """The output with a vector for each token: (texts, tokens, numbers)."""
    names: list[str] = [each.name for each in session.get_outputs() if len(each.shape) == 3]
    if not names:
        raise ModelError("model.onnx gives no vector for each token")
    return "last_hidden_state" if "last_hidden_state" in names else names[0]
