"""The cache's parts, put together without a server: a clock to turn, a store and an embedder to
take away.

    cache = CacheParts()
    await cache.keep("What does it cost?", "Ten dollars.")
    assert (await cache.ask("what does it cost ?")).tier is Tier.SEMANTIC

`WordsEmbedder` hashes words, so that questions which share most of theirs lie close together; it
knows no meaning. `ListStore` is a list that is looked through from one end to the other.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from tidegate.cache.calibration import Calibration
from tidegate.cache.decision import Policy
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Entry, Scored, Selection, StoreError, Vector
from tidegate.cache.explaining import Explaining
from tidegate.cache.forgotten import Forgotten
from tidegate.cache.guard import Comparison, compare
from tidegate.cache.honesty import HonestyPolicy, Record
from tidegate.cache.honesty_book import HonestyBook
from tidegate.cache.honesty_store import HonestyAwayError, HonestyStore, Kept
from tidegate.cache.lookups import Found, LookupOptions, Lookups
from tidegate.cache.metrics import CacheMetrics
from tidegate.cache.parts import Parts, StoreComponent
from tidegate.cache.questions import Questions
from tidegate.cache.searching import Search
from tidegate.cache.shadows import Shadows
from tidegate.cache.storing import Answer, KeepingOptions, Storing
from tidegate.cache.upkeep import Upkeep
from tidegate.cache.verifier import Verifier
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.simulator.embeddings import embed

TENANT = "acme"
MODEL = "sim-1"
FINGERPRINT = "words-1"
DIMENSION = 64
JOB = "job_" + "a" * 26
# The hashing embedder's scale is taken to be that of the setting.
TABLE = Calibration(FINGERPRINT, ((0.0, 0.0), (1.0, 1.0)), "made up", 1)


def chat(*messages: str | dict[str, Any], **fields: Any) -> bytes:
    """A request's body; texts are the user's."""
    told = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
    return json.dumps({"model": MODEL, "messages": told} | fields).encode()


def says(role: str, text: str) -> dict[str, Any]:
    """A message of somebody."""
    return {"role": role, "content": text}


class WordsEmbedder:
    """An embedder and a component. `fails` is raised by each call; `answers` are given instead."""

    name = "embedder"
    fingerprint = FINGERPRINT
    dimension = DIMENSION

    def __init__(self) -> None:
        self.fails: EmbedderError | None = None
        self.answers: list[Vector] | None = None
        self.held: asyncio.Event | None = None
        self.texts: list[str] = []
        self._known: dict[str, Vector] = {}

    async def start(self) -> None:
        """Nothing."""

    async def stop(self, deadline: Deadline) -> None:
        """Nothing."""

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for each."""
        self.texts += texts
        if self.held is not None:
            await self.held.wait()
        if self.fails is not None:
            raise self.fails
        return self.answers if self.answers is not None else [self._vector(t) for t in texts]

    def _vector(self, text: str) -> Vector:
        if text not in self._known:
            self._known[text] = np.array(embed(text, DIMENSION), dtype=np.float32)
        return self._known[text]


class ListStore:
    """A store. `away`: it answers nothing; `careless`: it filters nothing.

    `late`: what is put is kept, and nobody hears of it; `ill` is raised by removals, one by each.
    """

    name = "store"
    kind = "embedded"

    def __init__(self, *, careless: bool = False) -> None:
        self.away = False
        self.careless = careless
        self.kept: dict[tuple[str, str], tuple[Entry, Vector | None]] = {}
        self.held: asyncio.Event | None = None
        self.late = False
        self.ill: list[Exception] = []
        self.put_ids: list[str] = []

    async def start(self) -> None:
        """Nothing."""

    async def stop(self, deadline: Deadline) -> None:
        """Nothing."""

    async def get(self, tenant: str, entry_id: str, now_ms: int) -> Entry | None:
        """As `Store` has it."""
        self._check()
        entry, _ = self.kept.get((tenant, entry_id), (None, None))
        return entry if entry is None or self.careless or entry.expires_ms > now_ms else None

    async def search(
        self, vector: Vector, *, tenant: str, scope: str, now_ms: int, limit: int
    ) -> list[Scored]:
        """As `Store` has it."""
        self._check()
        found = [
            Scored(entry, float(np.dot(vector, its)))
            for entry, its in self.kept.values()
            if its is not None and (self.careless or _fits(entry, tenant, scope, now_ms))
        ]
        return sorted(found, key=lambda each: -each.score)[:limit]

    async def put(self, entry: Entry, vector: Vector | None) -> None:
        """As `Store` has it."""
        self._check()
        self.put_ids.append(entry.id)
        if self.held is not None:
            await self.held.wait()
        self.kept[entry.tenant, entry.id] = (entry, vector)
        if self.late:
            raise StoreError("no answer in time")

    async def remove(self, selection: Selection) -> int:
        """As `Store` has it."""
        self._check()
        if self.ill:
            raise self.ill.pop()
        found = [key for key, (entry, _) in self.kept.items() if _selected(entry, selection)]
        for key in found:
            del self.kept[key]
        return len(found)

    async def count(self, tenant: str | None = None) -> int:
        """As `Store` has it."""
        self._check()
        return sum(tenant in {None, of} for of, _ in self.kept)

    def _check(self) -> None:
        if self.away:
            raise StoreError("the store does not answer")


def _fits(entry: Entry, tenant: str, scope: str, now_ms: int) -> bool:
    return (entry.tenant, entry.scope) == (tenant, scope) and entry.expires_ms > now_ms


def _selected(entry: Entry, selection: Selection) -> bool:
    return entry.tenant == selection.tenant and all(
        (
            selection.entry_id in {None, entry.id},
            selection.job_id in {None, entry.job_id},
            selection.model in {None, entry.model},
            selection.before_ms is None or entry.created_ms < selection.before_ms,
        )
    )


class ListHonesty(HonestyStore):
    """What is kept of tenants' hits, as JetStream keeps it.

    `away`: it does not answer; `refuses`: the tenants for whom another is always quicker.
    """

    def __init__(self) -> None:
        self.away = False
        self.refuses: set[str] = set()
        self.kept: dict[str, Kept] = {}
        self.sequence = 0

    async def put(self, tenant: str, record: Record, base: int) -> Kept | None:
        """As `HonestyStore` has it."""
        await asyncio.sleep(0)
        if tenant in self.refuses or (await self.last(tenant)).sequence != base:
            return None
        self.sequence += 1
        self.kept[tenant] = Kept(tenant, record, self.sequence)
        return self.kept[tenant]

    async def last(self, tenant: str) -> Kept:
        """As `HonestyStore` has it."""
        if self.away:
            raise HonestyAwayError("no answer")
        return self.kept.get(tenant, Kept(tenant, None, 0))

    async def after(self, sequence: int) -> list[Kept]:
        """As `HonestyStore` has it."""
        if self.away:
            raise HonestyAwayError("no answer")
        return [kept for kept in self.kept.values() if kept.sequence > sequence]


class SaysVerifier:
    """A verifier that says what it is told to say, and remembers what it was asked."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    async def same(self, question: str, stored_question: str) -> bool | None:
        """As `Verifier` has it."""
        self.asked.append((question, stored_question))
        return self.answer


class CacheParts:
    """A cache without its surface. `now` is its clock, in seconds; `drawn` its random number.

    Not `guarded`: its guard objects to nothing. `store` is a list unless another is brought along.
    """

    def __init__(
        self,
        *,
        store: StoreComponent | None = None,
        embedder: bool = True,
        calibrated: bool = True,
        verifier: Verifier | None = None,
        policy: Policy | None = None,
        guarded: bool = True,
        lookups: LookupOptions | None = None,
        keeping: KeepingOptions | None = None,
    ) -> None:
        self.now = 1_700_000_000.0
        self.drawn = 0.0
        self.guard = TaskGuard()
        self.registry = CollectorRegistry()
        self.store = store if isinstance(store, ListStore) else ListStore()
        self.embedder = WordsEmbedder()
        self.honesty_store = ListHonesty()
        policy = policy or Policy()
        metrics = CacheMetrics(self.registry)
        questions = Questions(
            self.embedder if embedder else None, lambda _: TABLE if calibrated else None
        )
        self.questions = questions
        self.honesty = HonestyBook(
            self.honesty_store,
            self.guard,
            HonestyPolicy(discount=policy.threshold - policy.lowest),
            metrics.judgements,
            threshold=policy.threshold,
            embedder=lambda: questions.embedder,
        )
        parts = Parts(
            store or self.store,
            questions,
            self.honesty,
            metrics,
            lambda: self.now,
            lambda: self.drawn,
        )
        search = Search(parts, policy, compare if guarded else lambda *_: Comparison(()))
        options = lookups or LookupOptions()
        self.forgotten = Forgotten(lambda: self.now)
        self.shadows = Shadows(parts, verifier, self.guard, agreement=0.75)
        self.lookups = Lookups(parts, search, verifier, options)
        self.storing = Storing(
            parts, self.shadows, self.forgotten, self.guard, keeping or KeepingOptions()
        )
        self.explaining = Explaining(search, options.limits, verifies=verifier is not None)
        self.upkeep = Upkeep(parts, self.forgotten, self.guard, threshold=policy.threshold)

    async def start(self) -> "CacheParts":
        """Begins the embedder; nothing else has to be begun."""
        await self.questions.start()
        return self

    async def ask(
        self, *messages: str | dict[str, Any], tenant: str = TENANT, model: str = MODEL, **more: Any
    ) -> Found:
        """A lookup."""
        return await self.lookups.lookup(tenant, model, chat(*messages, **more))

    async def keep(
        self,
        question: str,
        text: str,
        *,
        tenant: str = TENANT,
        job_id: str = JOB,
        shadow_of: str = "",
        finish_reason: str = "stop",
        **more: Any,
    ) -> str:
        """Stores an answer; the reason where it is not kept."""
        answer = Answer(text, finish_reason, job_id, "upstream", 3, 5, 700)
        return await self.storing.store(
            tenant, MODEL, chat(question, **more), answer, shadow_of=shadow_of
        )

    async def settled(self) -> None:
        """Returns when nothing is compared any more."""
        await self.shadows.stop(Deadline(10))

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value; 0 if it was never touched."""
        return self.registry.get_sample_value(name, labels) or 0.0
