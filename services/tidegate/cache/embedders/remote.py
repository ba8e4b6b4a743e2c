"""A provider's embeddings model, called by the routes and through the fleet's circuit breakers."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
import structlog

from tidegate.cache.embedders.answers import read_vectors
from tidegate.cache.embedders.batches import Batches, RefusedError
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.chassis.backoff import Backoff
from tidegate.chassis.component import Deadline
from tidegate.chassis.settings import SettingsError
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.events import Usage
from tidegate.providers.calling import Patience
from tidegate.providers.embedding_calls import EmbeddingCalls
from tidegate.providers.errors import CALLERS_KINDS, ProviderError
from tidegate.providers.routes import Routes, Target

_log = structlog.stdlib.get_logger(module=__name__)

_IMPATIENT: Final = Patience(0.0)
_LEARN_AGAIN: Final = Backoff(0.5, 30.0)
_PROBE: Final = "a"
_DIGITS: Final = 24

OnUsage = Callable[[Target, Usage], None]


def fingerprint_of(key: tuple[str, str], dimension: int) -> str:
    """Names the vector space of a target, by its key (provider, model) and its dimension."""
    told = msgspec.json.encode([*key, dimension])
    return f"remote-{sha256(told).hexdigest()[:_DIGITS]}"


class RemoteEmbedder:
    """An embedder and a component, for the public `model` of the routes.

    Vectors of two models do not compare, so it stays with the model's first target as the routes
    have it now: others, and fallbacks, are not called. That one's address and key may change.

    `requests` are under way at a time; the texts that wait meanwhile go together, at most 64. One
    that takes longer than `seconds` has failed, and counts against the provider's breaker in the
    whole fleet: it is a provider's time-out, not what a lookup has. Nothing is repeated. Of a text
    the first `max_characters` are sent; with `refuse_longer` a longer one has no vector.
    `dimension` None: learnt by a call. `on_usage` hears what each answer used.
    """

    name = "embedder"

    def __init__(
        self,
        model: str,
        *,
        routes: Callable[[], Routes],
        calls: EmbeddingCalls,
        guard: TaskGuard,
        dimension: int | None = None,
        seconds: float = 5.0,
        requests: int = 4,
        max_characters: int = 8_000,
        refuse_longer: bool = False,
        on_usage: OnUsage | None = None,
    ) -> None:
        """Raises SettingsError where the routes have no embeddings model of that name."""
        route = routes().get(model)
        if route is None or route.kind != "embeddings":
            raise SettingsError(f"the routes have no embeddings model {model!r}")
        self._model = model
        self._key = route.targets[0].key
        self._routes = routes
        self._calls = calls
        self._guard = guard
        self._dimension = dimension
        self._seconds = seconds
        self._batches = Batches(self._ask, guard, requests=requests)
        self._max_characters = max_characters
        self._refuse_longer = refuse_longer
        self._on_usage = on_usage
        self._learning: asyncio.Task[None] | None = None
        self._failing = False

    @property
    def fingerprint(self) -> str:
        """As `Embedder` has it. Raises EmbedderError, a passing one, until it is known."""
        return fingerprint_of(self._key, self.dimension)

    @property
    def dimension(self) -> int:
        """As `Embedder` has it. Raises EmbedderError, a passing one, until it is known."""
        if self._dimension is None:
            raise EmbedderError("the model's dimension is not known yet", passing=True)
        return self._dimension

    async def start(self) -> None:
        """Begins to learn the dimension, for as long as it takes."""
        if self._dimension is None:
            self._learning = self._guard.spawn("embedder-dimension", self._learn())

    async def stop(self, deadline: Deadline) -> None:
        """Gives up what is under way; whoever waits has no vector."""
        del deadline
        if self._learning is not None:
            self._learning.cancel()
        self._batches.stop()

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """As `Embedder` has it."""
        _ = self.dimension  # Or it raises.
        return await self._batches.vectors([self._readable(text) for text in texts])

    def _readable(self, text: str) -> str:
        start = text[: self._max_characters]
        if self._refuse_longer and len(start) < len(text):
            raise EmbedderError(f"the text is longer than {self._max_characters} characters")
        # Half of a pair of surrogates can be in a str, and not in JSON.
        return start.encode("utf-8", "replace").decode("utf-8")

    async def _ask(self, texts: list[str]) -> list[Vector]:
        body = msgspec.json.encode(
            {"model": self._model, "input": texts, "encoding_format": "float"}
        )
        try:
            embedded = await self._calls.create(
                [self._target()],
                body,
                # The target's own time-out comes first, and counts as a failure of its.
                seconds=2 * self._seconds,
                patience=_IMPATIENT,
                attempts=1,
                headers={},
            )
        except ProviderError as error:
            raise self._failed(error) from error
        if self._on_usage is not None:
            self._on_usage(embedded.target, embedded.usage)
        try:
            vectors = read_vectors(embedded.data, len(texts), self._dimension)
        except EmbedderError as error:
            self._tell(str(error))
            raise
        self._tell(None)
        return vectors

    def _failed(self, error: ProviderError) -> EmbedderError:
        message = f"the embeddings' provider gave no vector: {error.message}"
        if error.kind in CALLERS_KINDS:
            return RefusedError(message)
        self._tell(error.reason)
        return EmbedderError(message, passing=True)

    def _target(self) -> Target:
        route = self._routes().get(self._model)
        for target in route.targets if route is not None else ():
            if target.key == self._key:
                times = {
                    name: min(getattr(target.timeouts, name), self._seconds)
                    for name in ("first_token", "total")
                }
                timeouts = msgspec.structs.replace(target.timeouts, **times)
                return dataclasses.replace(target, timeouts=timeouts)
        raise EmbedderError(
            "the routes lead to another embeddings model than at the start", passing=True
        )

    def _tell(self, reason: str | None) -> None:
        """One line when it begins to fail, and one when it works again."""
        provider, model = self._key
        if reason is not None and not self._failing:
            _log.warning("embedder fails", provider=provider, model=model, reason=reason)
        elif reason is None and self._failing:
            _log.info("embedder works again", provider=provider, model=model)
        self._failing = reason is not None

    async def _learn(self) -> None:
        tries = 0
        while self._dimension is None:
            try:
                (vector,) = await self._batches.vectors([_PROBE])
                self._dimension = len(vector)
            except EmbedderError:
                await _LEARN_AGAIN.pause(tries)
                tries += 1
