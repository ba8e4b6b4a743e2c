"""A model in this process, on a thread of its own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from tidegate.cache.embedders.encoder import Encoder
from tidegate.cache.embedders.models import Model, ModelError
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import ServiceFault

T = TypeVar("T")

_log = structlog.stdlib.get_logger(module=__name__)


class LocalEmbedder:
    """An embedder and a component. `read` finds the model, and is called once, off the event loop.

    `max_tokens` and `refuse_longer` are as `Encoder` has them. Texts wait in the thread's queue, in
    which they are run one by one: a batch is no quicker, and would make a text's vector depend on
    its neighbours, by whose numbers its own are scaled. A text whose caller has left before its
    turn is passed over.
    """

    name = "embedder"

    def __init__(
        self, read: Callable[[], Model], *, max_tokens: int = 256, refuse_longer: bool = False
    ) -> None:
        self._read = read
        self._max_tokens = max_tokens
        self._refuse_longer = refuse_longer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedder")
        self._loaded: tuple[str, Encoder] | None = None
        self._stopping = False

    @property
    def fingerprint(self) -> str:
        """As `Embedder` has it. Raises EmbedderError, a passing one, before `start` is through."""
        return self._ready()[0]

    @property
    def dimension(self) -> int:
        """As `Embedder` has it. Raises EmbedderError, a passing one, before `start` is through."""
        return self._ready()[1].dimension

    async def start(self) -> None:
        """Loads the model. Raises ServiceFault where that cannot be done."""
        began = time.monotonic()
        try:
            self._loaded = fingerprint, encoder = await self._on_thread(self._load)
        except ModelError as error:
            raise ServiceFault(self.name, str(error)) from error
        _log.info(
            "embedding model loaded",
            fingerprint=fingerprint,
            dimension=encoder.dimension,
            seconds=round(time.monotonic() - began, 3),
        )

    async def stop(self, deadline: Deadline) -> None:
        """Ends the thread after the text that it runs; those that wait have no vector."""
        del deadline  # A text takes milliseconds.
        self._stopping = True
        await asyncio.to_thread(self._thread.shutdown)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """As `Embedder` has it."""
        _, encoder = self._ready()
        return await asyncio.gather(
            *(self._on_thread(self._encode, encoder, text) for text in texts)
        )

    def _ready(self) -> tuple[str, Encoder]:
        if self._stopping or self._loaded is None:
            raise EmbedderError("the embedding model is not loaded", passing=True)
        return self._loaded

    def _on_thread(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _load(self) -> tuple[str, Encoder]:
        model = self._read()
        encoder = Encoder(model, max_tokens=self._max_tokens, refuse_longer=self._refuse_longer)
        return model.fingerprint, encoder

    def _encode(self, encoder: Encoder, text: str) -> Vector:
        if self._stopping:
            raise EmbedderError("the embedder stops", passing=True)
        return encoder.encode(text)
