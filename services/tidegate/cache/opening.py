"""Which store the settings ask for."""

from collections.abc import Callable

from tidegate.cache.metrics import CacheMetrics
from tidegate.cache.parts import StoreComponent
from tidegate.cache.questions import Questions
from tidegate.cache.settings import CacheSettings
from tidegate.cache.stores.embedded import EmbeddedStore
from tidegate.cache.stores.payload import Space
from tidegate.chassis.tasks import TaskGuard


def make_store(
    settings: CacheSettings,
    questions: Questions,
    guard: TaskGuard,
    metrics: CacheMetrics,
    clock: Callable[[], float],
) -> StoreComponent:
    """The store; `questions`, which begin before it, tell whose vectors it keeps."""

    def space() -> Space:
        return Space(questions.embedder, questions.dimension)

    if settings.cache_store == "embedded":
        return EmbeddedStore(
            settings.cache_directory,
            space,
            guard,
            max_entries=settings.cache_max_entries,
            clock=clock,
            on_evicted=metrics.evicted.inc,
        )
    # Only here: its client takes long to load, and memory.
    from tidegate.cache.stores.qdrant import QdrantStore  # noqa: PLC0415

    return QdrantStore(
        settings.qdrant_url,
        space,
        guard,
        api_key_file=settings.qdrant_api_key_file,
        clock=clock,
    )
