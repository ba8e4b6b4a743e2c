"""`POST /v1/embeddings`: no job, but the same routes, breakers and accounting."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from aiohttp import web

from tidegate.chassis.http_errors import REQUEST_ID
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.extra import require_offered
from tidegate.contracts.fold import JobError
from tidegate.gateway.entrance import Entrance
from tidegate.gateway.offers import route_of
from tidegate.gateway.openai.admission import Places
from tidegate.gateway.openai.embeddings_request import parse_embeddings
from tidegate.gateway.openai.errors import Problem, ended_badly
from tidegate.gateway.openai.metrics import EmbeddingsMetrics
from tidegate.providers.breakers import Breakers
from tidegate.providers.calling import INTERACTIVE, Caller
from tidegate.providers.clients import Clients
from tidegate.providers.embedding_calls import Embedded, EmbeddingCalls
from tidegate.providers.errors import ProviderError
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Routes

_log = structlog.stdlib.get_logger(module=__name__)

_MOST_CALLS: Final = 6
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Upstream:
    """What calls for embeddings are made with."""

    routes: Callable[[], Routes]
    caller: Caller
    breakers: Breakers
    clients: Clients
    prices: PriceBook
    tracing: Tracing


class EmbeddingsApi:
    """Embeddings. `seconds` is what one request may take, all its calls together."""

    def __init__(
        self,
        entrance: Entrance,
        upstream: Upstream,
        places: Places,
        *,
        seconds: float,
        metrics: EmbeddingsMetrics,
    ) -> None:
        self._entrance = entrance
        self._upstream = upstream
        self._calls = EmbeddingCalls(upstream.caller, upstream.clients, upstream.tracing)
        self._places = places
        self._seconds = seconds
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.post("/v1/embeddings", self.create)]

    async def create(self, request: web.Request) -> web.Response:
        """The embeddings.

        Raises:
            TidegateError: the request cannot be taken; what fails at a provider is answered.
        """
        caller, _ = self._entrance.admit(request)
        asked = parse_embeddings(await self._entrance.read_json_body(request))
        model = asked.request.model
        route = route_of(self._upstream.routes(), model, "embeddings")
        require_offered(asked.extra, route.extra_body)
        body = asked.body()
        with self._places.one(caller.tenant):
            try:
                embedded = await self._calls.create(
                    self._upstream.routes().plan(model),
                    body,
                    seconds=self._seconds,
                    patience=INTERACTIVE,
                    attempts=_MOST_CALLS,
                    headers={"x-request-id": request.get(REQUEST_ID, "")},
                )
            except ProviderError as error:
                return self._refusal(model, error)
        self._book(model, embedded)
        tokens = embedded.usage.input_tokens
        told = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {
            "object": "list",
            "data": msgspec.Raw(embedded.data),
            "model": model,
            "usage": told,
        }
        return web.Response(body=_encoder.encode(answer), content_type="application/json")

    def _refusal(self, model: str, error: ProviderError) -> web.Response:
        self._metrics.calls.labels(model, error.reason.value).inc()
        _log.warning("embeddings failed", model=model, reason=error.reason, why=error.message)
        wait_ms = None if error.retry_after is None else round(error.retry_after * 1000)
        told = JobError(error.reason, error.message, error.retriable, wait_ms)
        problem: Problem = ended_badly(told, keyed=False)
        return web.Response(
            status=problem.status,
            body=problem.body,
            content_type="application/json",
            headers=problem.headers,
        )

    def _book(self, model: str, embedded: Embedded) -> None:
        self._metrics.calls.labels(model, "ok").inc()
        self._metrics.tokens.labels(model).inc(embedded.usage.input_tokens)
        cost = self._upstream.prices.cost(embedded.target, embedded.usage)
        if cost is None:
            self._metrics.unpriced.labels(model).inc()
        else:
            self._metrics.cost.labels(model).inc(cost)
