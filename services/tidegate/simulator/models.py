"""Which models there are, and `GET /v1/models`."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from tidegate.simulator.admission import Admission
from tidegate.simulator.errors import unknown_model


class Catalogue:
    """The names of the models that chat and of those that embed.

    `created`: Unix seconds that every model claims.
    """

    def __init__(self, chat: Sequence[str], embedding: Sequence[str], created: int) -> None:
        self._chat = tuple(chat)
        self._embedding = tuple(embedding)
        self._created = created

    def require_chat(self, model: str) -> None:
        """Raises ProviderError (404) unless the model chats."""
        if model not in self._chat:
            raise unknown_model(model)

    def require_embedding(self, model: str) -> None:
        """Raises ProviderError (404) unless the model embeds."""
        if model not in self._embedding:
            raise unknown_model(model)

    def names(self) -> tuple[str, ...]:
        """All models, those that chat first."""
        return self._chat + self._embedding

    def entry(self, model: str) -> dict[str, str | int]:
        """OpenAI's model object. Raises ProviderError (404) for an unknown model."""
        if model not in self.names():
            raise unknown_model(model)
        return {"id": model, "object": "model", "created": self._created, "owned_by": "tidegate"}


class ModelsApi:
    """The handlers that name models."""

    def __init__(self, catalogue: Catalogue, admission: Admission) -> None:
        self._catalogue = catalogue
        self._admission = admission

    async def list_all(self, request: web.Request) -> web.Response:
        """All models."""
        self._admission.check_key(request)
        entries = [self._catalogue.entry(name) for name in self._catalogue.names()]
        return _json({"object": "list", "data": entries})

    async def get_one(self, request: web.Request) -> web.Response:
        """One model by name."""
        self._admission.check_key(request)
        return _json(self._catalogue.entry(request.match_info["model"]))


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
