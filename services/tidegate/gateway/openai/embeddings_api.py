"""`POST /v1/embeddings`: no job, but the same routes, breakers and accounting."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from aiohttp import web
from opentelemetry.trace import SpanKind

from tidegate.chassis.http_errors import REQUEST_ID
from tidegate.chassis.tracing import Tracing, inject
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Usage
from tidegate.contracts.extra import require_offered
from tidegate.contracts.fold import JobError
from tidegate.gateway.entrance import Entrance
from tidegate.gateway.offers import route_of
from tidegate.gateway.openai.admission import Places
from tidegate.gateway.openai.embeddings_request import parse_embeddings
from tidegate.gateway.openai.errors import Problem, ended_badly
from tidegate.gateway.openai.metrics import EmbeddingsMetrics
from tidegate.providers.breakers import Breakers, Permit
from tidegate.providers.calling import INTERACTIVE, Caller
from tidegate.providers.clients import Clients
from tidegate.providers.embeddings import EmbeddingsResult
from tidegate.providers.errors import ErrorKind, ProviderError
from tidegate.providers.estimate import estimate_input_tokens
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Routes, Target

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
            call = _Call(self._upstream, model, body, request.get(REQUEST_ID, ""))
            try:
                result = await call.run(self._seconds)
            except ProviderError as error:
                return self._refusal(model, error)
            except TimeoutError:
                late = ProviderError(
                    Reason.DEADLINE_EXCEEDED,
                    f"no embeddings came within {self._seconds:g} seconds",
                    kind=ErrorKind.RETRIABLE,
                )
                return self._refusal(model, late)
        usage = self._book(model, call, result, body)
        told = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
        answer = {
            "object": "list",
            "data": msgspec.Raw(result.data),
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

    def _book(self, model: str, call: "_Call", result: EmbeddingsResult, body: bytes) -> Usage:
        usage = result.usage
        if usage is None:
            usage = Usage(input_tokens=estimate_input_tokens(body), estimated=True)
        self._metrics.calls.labels(model, "ok").inc()
        self._metrics.tokens.labels(model).inc(usage.input_tokens)
        cost = None
        if call.target is not None:
            cost = self._upstream.prices.cost(call.target, usage)
        if cost is None:
            self._metrics.unpriced.labels(model).inc()
        else:
            self._metrics.cost.labels(model).inc(cost)
        return usage


class _Call:
    """One request's calls, the last of which tells the `target` that answered."""

    def __init__(self, upstream: Upstream, model: str, body: bytes, request_id: str) -> None:
        self._upstream = upstream
        self._model = model
        self._body = body
        self._request_id = request_id
        self.target: Target | None = None

    async def run(self, seconds: float) -> EmbeddingsResult:
        """The embeddings.

        Raises:
            ProviderError: no provider gave them.
            TimeoutError: the time is over.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        targets = self._upstream.routes().plan(self._model)
        async with asyncio.timeout_at(deadline):
            return await self._upstream.caller.run(
                targets,
                self._once,
                deadline=deadline,
                patience=INTERACTIVE,
                attempts_left=_MOST_CALLS,
            )

    async def _once(self, target: Target, permit: Permit) -> EmbeddingsResult:
        del permit  # Settled by whoever called this; there is no first token to tell of.
        self.target = target
        client = self._upstream.clients.embeddings(target)
        with self._upstream.tracing.span("provider call", kind=SpanKind.CLIENT) as span:
            span.set_attribute("gen_ai.request.model", target.model)
            span.set_attribute("tidegate.provider", target.provider)
            headers = {"x-request-id": self._request_id}
            inject(headers)
            return await client.create(target, self._body, headers=headers)
