"""The clients of a process: connections to each provider that is called."""

import asyncio
from collections.abc import Iterable

from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.providers.chat_stream import ChatClient
from tidegate.providers.embeddings import EmbeddingsClient
from tidegate.providers.endpoint import Endpoint
from tidegate.providers.routes import Target

# What connections differ by: the base URL and the seconds to a connection.
_Key = tuple[str, float]


class Clients:
    """A component: connects to a provider when it is first called.

    `concurrency` is how many calls may run at once at each.
    """

    name = "providers"

    def __init__(self, guard: TaskGuard, *, concurrency: int) -> None:
        self._guard = guard
        self._concurrency = concurrency
        self._endpoints: dict[_Key, Endpoint] = {}
        self._parting: set[asyncio.Task[None]] = set()

    def chat(self, target: Target) -> ChatClient:
        """The client for chat completions of a target."""
        return ChatClient(self._endpoint(target))

    def embeddings(self, target: Target) -> EmbeddingsClient:
        """The client for embeddings of a target."""
        return EmbeddingsClient(self._endpoint(target))

    def keep(self, targets: Iterable[Target]) -> None:
        """Parts with those that none of the targets needs; calls under way come to their end."""
        needed = {_key(target) for target in targets}
        for key in self._endpoints.keys() - needed:
            parting = self._guard.spawn("provider-parting", self._endpoints.pop(key).retire())
            self._parting.add(parting)
            parting.add_done_callback(self._parting.discard)

    async def start(self) -> None:
        """Nothing is connected before it is needed."""

    async def stop(self, deadline: Deadline) -> None:
        """Closes all connections."""
        del deadline
        for parting in self._parting:
            parting.cancel()
        for endpoint in self._endpoints.values():
            await endpoint.close()

    def _endpoint(self, target: Target) -> Endpoint:
        key = _key(target)
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            base_url, connect = key
            endpoint = Endpoint(base_url, connect=connect, concurrency=self._concurrency)
            self._endpoints[key] = endpoint
        return endpoint


def _key(target: Target) -> _Key:
    return target.base_url, target.timeouts.connect
