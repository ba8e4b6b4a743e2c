"""Questions for the cache's benches: labelled pairs, request streams, and their vectors."""

import csv
import json
import os
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tidegate.cache.calibration import BUILT_IN
from tidegate.cache.decision import Policy
from tidegate.cache.embedders.encoder import Encoder
from tidegate.cache.embedders.models import minilm
from tidegate.cache.measuring import LabelledPair, parse_pairs
from tidegate.cache.policy import policy_of
from tidegate.cache.settings import CacheDecisionSettings

PAIRS = Path(__file__).parent / "cache_pairs"
SEED = 7


@dataclass(frozen=True)
class Ask:
    """A question of a stream, and its intent."""

    question: str
    intent: str


def pairs(name: str) -> list[LabelledPair]:
    """The pairs of a set: `dev` or `held_out`."""
    found: list[LabelledPair] = []
    for path in sorted(PAIRS.glob(f"{name}_*.tsv")):
        found += parse_pairs(path.read_text(encoding="utf-8").splitlines())
    return found


def data_folder() -> Path:
    """Where the data sets are. Ends the bench, with a line, where they are not."""
    folder = Path(os.environ.get("CACHE_DATA", "data"))
    if not (folder / "banking77_train.csv").exists():
        print(f"no data sets in {folder}: name their folder, make bench-cache DATA=folder")
        sys.exit(0)
    return folder


def banking77(folder: Path) -> list[Ask]:
    """Banking77 (PolyAI, CC BY 4.0): customers' questions to a bank, 77 intents."""
    asks = []
    for name in ("banking77_train.csv", "banking77_test.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            asks += [Ask(row["text"].strip(), row["category"]) for row in csv.DictReader(file)]
    return asks


def clinc150(folder: Path) -> list[Ask]:
    """CLINC150 (CC BY 3.0): questions to an assistant, 150 intents, without those of none."""
    sets = json.loads((folder / "clinc_data_full.json").read_text(encoding="utf-8"))
    return [
        Ask(text, intent)
        for name, rows in sets.items()
        if not name.startswith("oos")
        for text, intent in rows
    ]


def stream(asks: Sequence[Ask], size: int, seed: int = SEED) -> list[Ask]:
    """That many of them in random order, none twice."""
    return random.Random(seed).sample(asks, size)


def repeated(asks: Sequence[Ask], size: int, seed: int = SEED) -> list[Ask]:
    """That many draws of them by Zipf's law (exponent 1), as popular questions repeat."""
    shuffled = random.Random(seed).sample(asks, len(asks))
    weights = [1 / rank for rank in range(1, len(shuffled) + 1)]
    return random.Random(seed + 1).choices(shuffled, weights, k=size)


class Vectors:
    """Vectors of the built-in model, made once for each text."""

    def __init__(self) -> None:
        model = minilm()
        self.fingerprint = model.fingerprint
        self._encoder = Encoder(model, max_tokens=256)
        self._made: dict[str, NDArray[np.float32]] = {}

    def of(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """A row for each text."""
        rows = []
        for text in texts:
            if text not in self._made:
                self._made[text] = self._encoder.encode(text)
            rows.append(self._made[text])
        return np.vstack(rows)

    def scale(self, threshold: float) -> float:
        """A threshold of the setting on this model's scale."""
        return BUILT_IN[self.fingerprint].of(threshold)


def default_policy() -> Policy:
    """The policy of the default settings."""
    return policy_of(CacheDecisionSettings())
