"""What a whole lookup costs on one core: embed, search, guard, decide.

    python -m bench.cache_lookups --entries 100000 --lookups 1500

The parts are the product's own, without the gRPC around them, and with no fleet to learn honesty
from. Entries have vectors of the pairs' questions with noise, in one scope or in 50; the questions
that are asked are others than those that are kept, so that each lookup embeds. This process and the
store's are held to one core. Latencies are of one lookup after the other: right after the entries
came in, while their search indexes are being made, and when these are there.
"""

import argparse
import asyncio
import os
import random
import resource
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import uvloop
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from bench._cache_data import Vectors, default_policy, pairs
from bench._machine import describe
from tidegate.cache.calibration import BUILT_IN
from tidegate.cache.embedders.local import LocalEmbedder
from tidegate.cache.embedders.models import minilm
from tidegate.cache.embedders.shared import SharedEmbedder
from tidegate.cache.entries import Entry
from tidegate.cache.guard import compare
from tidegate.cache.honesty import HonestyPolicy
from tidegate.cache.honesty_book import HonestyBook
from tidegate.cache.honesty_store import HonestyStore
from tidegate.cache.lookups import LookupOptions, Lookups, Outcome
from tidegate.cache.metrics import CacheMetrics
from tidegate.cache.parts import Parts
from tidegate.cache.questions import Questions
from tidegate.cache.request import DEFAULT_LIMITS, Prompt, read_prompt
from tidegate.cache.searching import Search
from tidegate.cache.stores.embedded import EmbeddedStore
from tidegate.cache.stores.payload import Space
from tidegate.chassis.component import Deadline
from tidegate.chassis.jetstream import JetStream
from tidegate.chassis.nats_client import NatsClient
from tidegate.chassis.tasks import TaskGuard

TENANT = "bench"
AT_ONCE = 50
NOISE = 0.035
QUIET_SECONDS = 1.0
LONGEST_SECONDS = 300.0
STAGES = ("embed", "search", "guard")


def body(question: str) -> bytes:
    return msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": question}]})


async def run(entries: int, scopes: int, asked: Sequence[str], kept: Sequence[str]) -> None:
    guard, registry = TaskGuard(), CollectorRegistry()
    metrics = CacheMetrics(registry)
    questions = Questions(SharedEmbedder(LocalEmbedder(minilm, refuse_longer=True)), BUILT_IN.get)
    with tempfile.TemporaryDirectory() as directory:
        store = EmbeddedStore(
            Path(directory),
            lambda: Space(questions.embedder, questions.dimension),
            guard,
            max_entries=2 * entries,
        )
        honesty = HonestyBook(
            HonestyStore(JetStream(NatsClient())),
            guard,
            HonestyPolicy(),
            metrics.judgements,
            threshold=0.92,
            embedder=lambda: questions.embedder,
        )
        parts = Parts(store, questions, honesty, metrics, time.time, random.random)
        search = Search(parts, default_policy(), compare)
        lookups = Lookups(parts, search, None, LookupOptions(deadline=10))
        await questions.start()
        await store.start()
        try:
            await fill(store, search, entries, scopes, kept)
            filled = time.perf_counter()
            compare("", "")
            half = len(asked) // 2
            await measure("just stored", lookups, registry, scopes, asked[:half])
            await groomed(Path(directory), filled)
            await measure("groomed", lookups, registry, scopes, asked[half:])
        finally:
            await store.stop(Deadline(30))
            await questions.stop(Deadline(5))
            await guard.cancel_all()


async def fill(
    store: EmbeddedStore, search: Search, entries: int, scopes: int, kept: Sequence[str]
) -> None:
    rows = Vectors().of(kept)
    draw = np.random.default_rng(7)
    now = int(time.time() * 1000)

    async def put(number: int) -> None:
        prompt = read_prompt(TENANT, f"m{number % scopes}", body(kept[0]), DEFAULT_LIMITS)
        assert isinstance(prompt, Prompt)
        question = kept[number % len(kept)]
        noise: NDArray[np.float64] = np.asarray(draw.normal(0, NOISE, rows.shape[1]))
        vector = (rows[number % len(kept)] + noise).astype(np.float32)
        entry = Entry(
            *(str(uuid.UUID(int=number)), f"{number:064x}", TENANT, search.scope(prompt), "m"),
            *("job", question, "An answer. " * 50, "stop", "upstream"),
            created_ms=now,
            expires_ms=now + 86_400_000,
        )
        await store.put(entry, vector / np.linalg.norm(vector))

    began = time.perf_counter()
    for start in range(0, entries, AT_ONCE):
        await asyncio.gather(*(put(number) for number in range(start, start + AT_ONCE)))
    print(f"{entries} entries in {scopes} scopes, put in {time.perf_counter() - began:.0f} s")


async def groomed(directory: Path, filled: float) -> None:
    """Returns when nothing has been groomed for a while. Raises TimeoutError if that never ends."""
    last = time.perf_counter()
    names: list[str] = []
    while (now := time.perf_counter()) - last < QUIET_SECONDS:
        names = await asyncio.to_thread(parts_of, directory)
        if "making" in names or names.count("head") > 1:
            last = now
        if now - filled > LONGEST_SECONDS:
            raise TimeoutError(f"the store was not groomed: {', '.join(names)}")
        await asyncio.sleep(0.05)
    print(f"  groomed {last - filled:.0f} s after the last entry: {', '.join(names)}")


def parts_of(directory: Path) -> list[str]:
    """The kinds of the store's parts: head, settled, making."""
    paths = [path for path in directory.glob("*/*-*") if path.suffix != ".gone"]
    return sorted(path.name.partition("-")[0] for path in paths)


async def measure(
    when: str, lookups: Lookups, registry: CollectorRegistry, scopes: int, asked: Sequence[str]
) -> None:
    times, outcomes = [], []
    spent = stage_seconds(registry)
    before, began = cpu_seconds(), time.perf_counter()
    for number, question in enumerate(asked):
        at = time.perf_counter()
        found = await lookups.lookup(TENANT, f"m{number % scopes}", body(question))
        times.append(1000 * (time.perf_counter() - at))
        outcomes.append(found.outcome)
    wall, cpu = time.perf_counter() - began, cpu_seconds() - before
    p50, p95, p99 = np.percentile(times, (50, 95, 99))
    means = ", ".join(
        f"{stage} {1000 * (total - spent[stage]) / len(asked):.2f}"
        for stage, total in stage_seconds(registry).items()
    )
    print(
        f"  {when}: p50 {p50:.2f} ms  p95 {p95:.2f}  p99 {p99:.2f}; mean of {means} ms; "
        f"{len(asked) / wall:.0f} lookups/s on the core, of which "
        f"{1000 * cpu / len(asked):.2f} ms of CPU here; "
        f"hits {outcomes.count(Outcome.HIT) / len(asked):.0%}"
    )


def stage_seconds(registry: CollectorRegistry) -> dict[str, float]:
    """Spent in each stage so far."""
    name = "tidegate_cache_stage_seconds_sum"
    return {each: registry.get_sample_value(name, {"stage": each}) or 0.0 for each in STAGES}


def cpu_seconds() -> float:
    """Of this process; the store's cannot be read while it runs."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--lookups", type=int, default=1_500)
    options = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    print(describe())
    labelled = pairs("dev")
    kept = list(dict.fromkeys(each.one for each in labelled))
    asked = list(dict.fromkeys(each.other for each in labelled))
    random.Random(7).shuffle(asked)
    asked = asked[: options.lookups]
    for scopes in (50, 1):
        uvloop.run(run(options.entries, scopes, asked, kept))


if __name__ == "__main__":
    main()
