"""`GET /v1/models`: what this deployment offers, under the names that callers use."""

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from tidegate.gateway.entrance import Entrance
from tidegate.gateway.offers import no_such_model
from tidegate.providers.routes import Routes

_OWNER: Final = "tidegate"
_encoder = msgspec.json.Encoder()


class Model(msgspec.Struct, frozen=True):
    """A model; `created` is epoch seconds."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = _OWNER


class ModelList(msgspec.Struct, frozen=True):
    """All models: those of chats first, for some clients offer the first one to their users."""

    data: list[Model]
    object: str = "list"


class ModelsApi:
    """Lists the current routes. `created` is what every model says, epoch seconds."""

    def __init__(self, routes: Callable[[], Routes], entrance: Entrance, *, created: int) -> None:
        self._routes = routes
        self._entrance = entrance
        self._created = created

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/v1/models", self.list),
            # Names of models may hold slashes.
            web.get("/v1/models/{model:.+}", self.get),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All of them."""
        self._entrance.admit(request)
        routes = self._routes()
        names = sorted(routes, key=lambda name: routes[name].kind != "chat")
        return _json(ModelList([Model(name, self._created) for name in names]))

    async def get(self, request: web.Request) -> web.Response:
        """One of them.

        Raises:
            NotFound: there is none of that name.
        """
        self._entrance.admit(request)
        name, routes = request.match_info["model"], self._routes()
        if name not in routes:
            raise no_such_model(routes, name)
        return _json(Model(name, self._created))


def _json(value: Model | ModelList) -> web.Response:
    return web.Response(body=_encoder.encode(value), content_type="application/json")
