"""`POST /v1/embeddings`: after the time to the first token, all vectors at once."""

import asyncio

import msgspec
from aiohttp import web

from tidegate.simulator.admission import Admission
from tidegate.simulator.embeddings import embed, to_base64
from tidegate.simulator.faults import Break
from tidegate.simulator.models import Catalogue
from tidegate.simulator.requests import EmbeddingsRequest, read_embeddings, text_weight
from tidegate.simulator.stream import reset


class EmbeddingsApi:
    """The handler of embeddings. `dimensions`: of a vector whose request does not say."""

    def __init__(self, *, dimensions: int, catalogue: Catalogue, admission: Admission) -> None:
        self._dimensions = dimensions
        self._catalogue = catalogue
        self._admission = admission

    async def embed(self, request: web.Request) -> web.Response:
        """Answer one request; any planned break in it cuts the connection before the answer."""
        with self._admission.call(request, "embeddings") as record:
            wanted = read_embeddings(await request.read())
            self._catalogue.require_embedding(wanted.model)
            texts = wanted.texts()
            record.model = wanted.model
            plan = self._admission.plan(request, record)
            await asyncio.sleep(plan.ttft + (plan.stall_s if plan.stall_after >= 0 else 0.0))
            if plan.break_after >= 0:
                self._admission.broke_off(record, Break.CUT)
                if request.transport is not None:
                    reset(request.transport)
            body = self._body(wanted, texts)
            return web.Response(body=body, content_type="application/json")

    def _body(self, wanted: EmbeddingsRequest, texts: list[str]) -> bytes:
        vectors = [embed(text, wanted.dimensions or self._dimensions) for text in texts]
        encode = to_base64 if wanted.encoding_format == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(text_weight(text) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return msgspec.json.encode(
            {"object": "list", "data": data, "model": wanted.model, "usage": usage}
        )
