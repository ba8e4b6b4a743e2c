"""The model clients of a worker, one for each route that is called."""

from tidegate.chassis.component import Deadline
from tidegate.providers.chat_stream import ChatClient
from tidegate.providers.routes import Routes


class Clients:
    """A component: makes each route's client when it is first called, and closes them all."""

    name = "providers"

    def __init__(self, routes: Routes, *, concurrency: int) -> None:
        self.routes = routes
        self._concurrency = concurrency
        self._clients: dict[str, ChatClient] = {}

    def of(self, model: str) -> ChatClient:
        """The client of a model that has a route."""
        client = self._clients.get(model)
        if client is None:
            client = ChatClient(self.routes[model], concurrency=self._concurrency)
            self._clients[model] = client
        return client

    async def start(self) -> None:
        """Nothing is connected before it is needed."""

    async def stop(self, deadline: Deadline) -> None:
        """Closes all connections."""
        del deadline
        for client in self._clients.values():
            await client.close()
