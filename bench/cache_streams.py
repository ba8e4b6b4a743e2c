"""What the cache serves of streams of requests, how much of it across intents, and what it saves.

    python -m bench.cache_streams --size 6000

Banking77 and CLINC150 as streams in random order: each request is answered by the nearest earlier
one that may be served, or else by the model, whose answer is kept then. Two questions of different
intents must never be answered by the same entry: the cross-intent share, of the hits, says how
often they were. Whether two neighbouring answers agree is taken from their intents.

The bill is of the same streams, and of ones in which questions repeat by Zipf's law, with five
requests a second and three seconds for an answer of the model: exact, coalesced (the same request
while the first is being answered) and semantic hits, as shares of the calls that are not made.
Every answer is taken to cost the same.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench._cache_data import (
    SEED,
    Ask,
    Vectors,
    banking77,
    clinc150,
    data_folder,
    default_policy,
    repeated,
    stream,
)
from bench._machine import describe
from tidegate.cache.decision import Policy, decide, thresholds_for
from tidegate.cache.entries import Entry
from tidegate.cache.entries import Scored as Candidate
from tidegate.cache.guard import Comparison, compare
from tidegate.cache.measuring import STEPS, Share, policy_at
from tidegate.cache.searching import NEAREST

PER_SECOND = 5.0
ANSWER_SECONDS = 3.0
# Below it nothing is served at any threshold that is looked at.
_FARTHEST = 0.60


# A sweep compares the same questions at each threshold.
remembered = cache(compare)


class Replay:
    """A cache in memory, of whose parts the deciding ones are the product's."""

    def __init__(
        self,
        asks: Sequence[Ask],
        vectors: Vectors,
        policy: Policy,
        *,
        guarded: bool,
        answer_seconds: float = 0.0,
    ) -> None:
        self._asks = asks
        self._rows = vectors.of(ask.question for ask in asks)
        self._scale = vectors.scale
        self._policy = policy
        self._compare = remembered if guarded else lambda _one, _other: Comparison(())
        self._answer_seconds = answer_seconds
        self._exact: dict[str, tuple[float, int]] = {}
        self._kept: NDArray[np.int64] = np.zeros(len(asks), dtype=np.int64)
        self._ready: list[float] = []
        self.served: Counter[str] = Counter()
        self.crossed = 0

    def run(self) -> "Replay":
        for place, ask in enumerate(self._asks):
            tier, source = self._answer(place, ask, place / PER_SECOND)
            self.served[tier] += 1
            if source is not None:
                self.crossed += self._asks[source].intent != ask.intent
        return self

    def share(self, tier: str) -> Share:
        return Share.of(self.served[tier], len(self._asks))

    @property
    def hits(self) -> int:
        return len(self._asks) - self.served["miss"]

    def _answer(self, place: int, ask: Ask, now: float) -> tuple[str, int | None]:
        text = " ".join(ask.question.split())
        if text in self._exact:
            ready, source = self._exact[text]
            return ("exact" if ready <= now else "coalesced"), source
        like = self._like(place, ask, now)
        if like is not None:
            return "semantic", like
        self._exact[text] = now + self._answer_seconds, place
        self._kept[len(self._ready)] = place
        self._ready.append(now + self._answer_seconds)
        return "miss", None

    def _like(self, place: int, ask: Ask, now: float) -> int | None:
        count = int(np.searchsorted(self._ready, now, side="right"))
        if not count:
            return None
        kept = self._kept[:count]
        scores = self._rows[kept] @ self._rows[place]
        if float(scores.max()) < self._scale(_FARTHEST):
            return None
        nearest = np.argsort(-scores)[:NEAREST]
        candidates = [Candidate(self._entry(int(kept[n])), float(scores[n])) for n in nearest]
        at = thresholds_for(self._policy, ask.question, scale=self._scale)
        decision = decide(ask.question, candidates, at, self._compare, agree=self._agree)
        return None if decision.served is None else int(decision.served.scored.entry.id)

    def _entry(self, place: int) -> Entry:
        ask = self._asks[place]
        names = (str(place), "", "", "", "", "", ask.question, ask.intent, "stop", "")
        return Entry(*names, created_ms=0, expires_ms=1)

    @staticmethod
    def _agree(one: Entry, other: Entry) -> bool:
        return one.text == other.text


def sweep(
    name: str, asks: Sequence[Ask], vectors: Vectors, policy: Policy, steps: Sequence[float]
) -> None:
    print(f"\n{name}, {len(asks)} requests as written; of the hits, those across intents")
    print(f"{'threshold':>9}  {'cosine alone':34}  {'with guard and rivals':34}  exact")
    bare = Policy(threshold=policy.threshold)
    for threshold in steps:
        cells, exact = [], 0.0
        for of, guarded in (
            (replace(bare, threshold=threshold), False),
            (policy_at(policy, threshold), True),
        ):
            found = Replay(asks, vectors, of, guarded=guarded).run()
            crossed = Share.of(found.crossed, found.hits)
            cells.append(
                f"{found.hits / len(asks):6.1%} hits {crossed.value:6.2%} "
                f"({crossed.low:.1%} to {crossed.high:.1%})"
            )
            exact = found.share("exact").value
        print(f"{threshold:9.2f}  {cells[0]:34}  {cells[1]:34}  {exact:.1%}")


def bill(name: str, asks: Sequence[Ask], vectors: Vectors, policy: Policy) -> None:
    found = Replay(asks, vectors, policy, guarded=True, answer_seconds=ANSWER_SECONDS).run()
    crossed = Share.of(found.crossed, found.hits)
    parts = "  ".join(
        f"{tier} {found.share(tier).value:6.1%}" for tier in ("exact", "coalesced", "semantic")
    )
    print(f"{name:34} {parts}  saved {found.hits / len(asks):6.1%}  across {crossed.value:.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=6000)
    parser.add_argument("--steps", type=float, nargs="+", default=STEPS, help="thresholds")
    options = parser.parse_args()
    size = options.size
    folder = data_folder()
    print(describe())
    vectors, policy = Vectors(), default_policy()
    sets = {"Banking77": banking77(folder), "CLINC150": clinc150(folder)}
    for name, asks in sets.items():
        sweep(name, stream(asks, size), vectors, policy, options.steps)
    print(f"\nBanking77 at {policy.threshold} in other orders")
    for seed in (SEED + 1, SEED + 2):
        found = Replay(stream(sets["Banking77"], size, seed), vectors, policy, guarded=True).run()
        crossed = Share.of(found.crossed, found.hits)
        print(f"  seed {seed}: {found.hits / size:.1%} hits, {crossed} across intents")
    print(f"\nthe bill at {policy.threshold}, in per cent of the calls")
    for name, asks in sets.items():
        bill(f"{name} as written", stream(asks, size), vectors, policy)
        bill(f"{name} with repeats (Zipf)", repeated(asks, size), vectors, policy)


if __name__ == "__main__":
    main()
