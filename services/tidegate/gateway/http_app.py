"""The HTTP surface of jobs and of discovery, a projection of the core."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from tidegate.chassis.http_errors import install_http_errors
from tidegate.chassis.http_request import check_query, only_value
from tidegate.chassis.keyring import Caller, Keyring
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.jobs import JobView
from tidegate.gateway.creation import too_large
from tidegate.gateway.http_bodies import encode_job, encode_page, new_job
from tidegate.gateway.jobs import Jobs
from tidegate.gateway.request_body import read_body


class JobsApi:
    """`body_bound` gives the bytes that a body may have, `body_seconds` bounds its arrival.

    `sse_url` is the base of the links.
    """

    def __init__(
        self,
        jobs: Jobs,
        keyring: Keyring,
        *,
        body_bound: Callable[[], int],
        body_seconds: float,
        sse_url: str,
    ) -> None:
        self._jobs = jobs
        self._keyring = keyring
        self._body_bound = body_bound
        self._body_seconds = body_seconds
        self._sse_url = sse_url.rstrip("/")

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.post("/v1/jobs", self.create),
            web.get("/v1/jobs", self.list),
            web.get("/v1/jobs/{job_id}", self.get),
            web.post("/v1/jobs/{job_id}/cancel", self.cancel),
            web.delete("/v1/jobs/{job_id}", self.delete),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """202 with the job."""
        caller, _ = self._admit(request)
        key = only_value("Idempotency-Key", request.headers.getall("Idempotency-Key", []))
        body = await self._read_body(request)
        job = await self._jobs.create(caller, new_job(body, key))
        headers = {"Location": f"/v1/jobs/{job.id}", "x-tidegate-job": job.id}
        return self._answer(job, status=202, headers=headers)

    async def list(self, request: web.Request) -> web.Response:
        """A page of jobs."""
        caller, query = self._admit(request, offered=("page_size", "page_token"))
        size = _page_size(query.get("page_size", "0"))
        page = await self._jobs.page(caller, size, query.get("page_token", ""))
        return _json(encode_page(page, self._sse_url))

    async def get(self, request: web.Request) -> web.Response:
        """The job."""
        caller, _ = self._admit(request)
        return self._answer(await self._jobs.get(caller, request.match_info["job_id"]))

    async def cancel(self, request: web.Request) -> web.Response:
        """The job, its cancel being recorded."""
        caller, _ = self._admit(request)
        return self._answer(await self._jobs.cancel(caller, request.match_info["job_id"]))

    async def delete(self, request: web.Request) -> web.Response:
        """204."""
        caller, _ = self._admit(request)
        await self._jobs.delete(caller, request.match_info["job_id"])
        return web.Response(status=204)

    def _admit(
        self, request: web.Request, *, offered: tuple[str, ...] = ()
    ) -> tuple[Caller, dict[str, str]]:
        """Who calls, and the query."""
        query = check_query(request.query.items(), offered=offered)
        given = only_value("Authorization", request.headers.getall("Authorization", []))
        return self._keyring.authenticate(given), query

    async def _read_body(self, request: web.Request) -> bytes:
        bound = self._body_bound()
        if (request.content_length or 0) > bound:
            raise too_large(bound)
        chunks = request.content.iter_any()
        return await read_body(chunks, bound=bound, seconds=self._body_seconds)

    def _answer(
        self, job: JobView, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        return _json(encode_job(job, self._sse_url), status=status, headers=headers)


def make_http_app(
    api: JobsApi, discovery: Mapping[str, Any], metrics: ChassisMetrics, tracing: Tracing
) -> web.Application:
    """The application. `discovery` is what /.well-known/tidegate tells anybody."""
    body = msgspec.json.encode(discovery)

    async def discover(request: web.Request) -> web.Response:
        check_query(request.query.items())
        return _json(body)

    # Bodies are bounded by `_read_body`, for the bound is known only once NATS is connected.
    app = web.Application(client_max_size=0)
    app.add_routes([*api.routes(), web.get("/.well-known/tidegate", discover)])
    install_http_errors(app, metrics, tracing)
    return app


def _page_size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise InvalidRequest("page_size must be a number", field="page_size")
    return int(text)


def _json(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
