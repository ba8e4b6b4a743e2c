"""How many repeats the cache serves (R), and how many look-alikes it serves wrongly (F).

    python -m bench.cache_quality

On the pairs of bench/cache_pairs: `dev`, which were looked at while the guard was written, and
`held_out`, which were not. By the cosine alone and with the guard, at each threshold; by
class at the default one; and GPTCache on those put aside with the same vectors, at its own default
and at the same threshold.
"""

import atexit
import importlib.util
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench._cache_data import Vectors, default_policy, pairs
from bench._machine import describe, package_version
from tidegate.cache.measuring import LabelledPair, Scored, Share, rates, table

# GPTCache's scores are 4 less the squared distance of two vectors, as a share of 4.
GPTCACHE_DEFAULT = 0.8


def main() -> None:
    print(describe())
    vectors, policy = Vectors(), default_policy()
    for name in ("dev", "held_out"):
        labelled = pairs(name)
        scored = score(labelled, vectors)
        print(f"\n{name}: {len(labelled)} pairs, {sum(each.same for each in labelled)} repeats")
        for title, guarded in (("by the cosine alone", False), ("with the guard", True)):
            print(f"\n  {title}")
            for line in table(rates(scored, policy, vectors.scale, guarded=guarded)):
                print(f"  {line}")
        print(f"\n  by class, with the guard, at {policy.threshold}")
        groups: dict[str, list[Scored]] = defaultdict(list)
        for each in scored:
            groups[each.pair.group].append(each)
        for group, of_group in sorted(groups.items()):
            found = rates(of_group, policy, vectors.scale, steps=[policy.threshold])[0]
            print(
                f"  {group:18} R {found.repeats.count:3} of {found.repeats.total:3}"
                f"   F {found.look_alikes.count:3} of {found.look_alikes.total:3}"
            )
        if name == "held_out":
            compare_with_gptcache(labelled, vectors, policy.threshold)


def score(labelled: Sequence[LabelledPair], vectors: Vectors) -> list[Scored]:
    ones = vectors.of(each.one for each in labelled)
    others = vectors.of(each.other for each in labelled)
    cosines = np.einsum("ij,ij->i", ones, others)
    return [Scored(each, float(cosine)) for each, cosine in zip(labelled, cosines, strict=True)]


def compare_with_gptcache(
    labelled: Sequence[LabelledPair], vectors: Vectors, threshold: float
) -> None:
    if importlib.util.find_spec("gptcache") is None:
        print("\n  GPTCache is not installed: make bench-cache installs it")
        return
    print(
        f"\n  GPTCache {package_version('gptcache')}, the same vectors, faiss, distance evaluation"
    )
    same = 1 - 2 * (1 - vectors.scale(threshold)) / 4
    # It writes its indexes when the process ends, so that the folder has to be there until then.
    folder = Path(tempfile.mkdtemp(prefix="gptcache-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for title, at in (
        (f"at its default, {GPTCACHE_DEFAULT}", GPTCACHE_DEFAULT),
        (f"at the cosine of {threshold}, {same:.4f}", same),
    ):
        served = [
            gptcache_serves(each, vectors, at, folder / f"{at:.4f}-{number}")
            for number, each in enumerate(labelled)
        ]
        repeats = [hit for hit, each in zip(served, labelled, strict=True) if each.same]
        others = [hit for hit, each in zip(served, labelled, strict=True) if not each.same]
        print(
            f"  {title:34} R {Share.of(sum(repeats), len(repeats))}   "
            f"F {Share.of(sum(others), len(others))}"
        )


def gptcache_serves(pair: LabelledPair, vectors: Vectors, threshold: float, folder: Path) -> bool:
    """Whether a cache that holds the first question's answer alone serves it for the other."""
    from gptcache import Cache, Config
    from gptcache.adapter.api import get, put
    from gptcache.manager import CacheBase, VectorBase, get_data_manager
    from gptcache.processor.pre import get_prompt
    from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation

    def embed(text: str, **_: object) -> NDArray[np.float32]:
        row: NDArray[np.float32] = vectors.of([text])[0]
        return row

    folder.mkdir()
    kept = CacheBase("sqlite", sql_url=f"sqlite:///{folder / 'kept.db'}")
    found = VectorBase("faiss", dimension=384, index_path=str(folder / "faiss.index"))
    cache = Cache()
    cache.init(
        pre_embedding_func=get_prompt,
        embedding_func=embed,
        data_manager=get_data_manager(kept, found),
        similarity_evaluation=SearchDistanceEvaluation(),
        config=Config(similarity_threshold=threshold),
    )
    put(pair.one, "the answer", cache_obj=cache)
    return get(pair.other, cache_obj=cache) is not None


if __name__ == "__main__":
    main()
