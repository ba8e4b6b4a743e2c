"""Calls for embeddings that fail well, whoever makes them: by the breakers, and within a time."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import SpanKind

from tidegate.chassis.tracing import Tracing, inject
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Usage
from tidegate.providers.breakers import Permit
from tidegate.providers.calling import Caller, Patience
from tidegate.providers.clients import Clients
from tidegate.providers.embeddings import EmbeddingsResult
from tidegate.providers.errors import ErrorKind, ProviderError
from tidegate.providers.estimate import estimate_input_tokens
from tidegate.providers.routes import Target

_SPAN: Final = "provider call"


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embeddings, and the target that gave them.

    `data` is as in `EmbeddingsResult`. `usage` is estimated where the provider told none.
    """

    target: Target
    data: bytes
    usage: Usage


class EmbeddingCalls:
    """Makes them, each in a span of its own."""

    def __init__(self, caller: Caller, clients: Clients, tracing: Tracing) -> None:
        self._caller = caller
        self._clients = clients
        self._tracing = tracing

    async def create(
        self,
        targets: Sequence[Target],
        body: bytes,
        *,
        seconds: float,
        patience: Patience,
        attempts: int,
        headers: Mapping[str, str],
    ) -> Embedded:
        """The answer of the first target that gives one, within `seconds` in all.

        `body` is an embeddings request in JSON; `patience` and `attempts` are as in `Caller.run`.

        Raises:
            ProviderError: no target answered; DEADLINE_EXCEEDED: not in time.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        called: list[Target] = []

        async def once(target: Target, permit: Permit) -> EmbeddingsResult:
            del permit  # Settled by whoever called this; there is no first token to tell of.
            called.append(target)
            return await self._once(target, body, headers)

        try:
            async with asyncio.timeout_at(deadline):
                result = await self._caller.run(
                    targets, once, deadline=deadline, patience=patience, attempts_left=attempts
                )
        except TimeoutError:
            late = f"no embeddings came within {seconds:g} seconds"
            raise ProviderError(Reason.DEADLINE_EXCEEDED, late, kind=ErrorKind.RETRIABLE) from None
        usage = result.usage
        if usage is None:
            usage = Usage(input_tokens=estimate_input_tokens(body), estimated=True)
        return Embedded(called[-1], result.data, usage)

    async def _once(
        self, target: Target, body: bytes, given: Mapping[str, str]
    ) -> EmbeddingsResult:
        client = self._clients.embeddings(target)
        with self._tracing.span(_SPAN, kind=SpanKind.CLIENT) as span:
            span.set_attribute("gen_ai.request.model", target.model)
            span.set_attribute("tidegate.provider", target.provider)
            headers = dict(given)
            inject(headers)
            return await client.create(target, body, headers=headers)
