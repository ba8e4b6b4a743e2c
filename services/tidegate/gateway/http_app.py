"""The HTTP surface of jobs and of discovery, a projection of the core."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from tidegate.chassis.http_cors import Origins, install_cors
from tidegate.chassis.http_errors import install_http_errors
from tidegate.chassis.http_request import check_query
from tidegate.chassis.metrics import ChassisMetrics
from tidegate.chassis.tracing import Tracing
from tidegate.contracts.jobs import JobView
from tidegate.gateway.entrance import Entrance, header, page_size_in
from tidegate.gateway.http_bodies import encode_job, encode_page, new_job
from tidegate.gateway.jobs import Jobs
from tidegate.gateway.openapi import openapi_document


class JobsApi:
    """`sse_url` is the base of the links."""

    def __init__(self, jobs: Jobs, entrance: Entrance, *, sse_url: str) -> None:
        self._jobs = jobs
        self._entrance = entrance
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
        caller, _ = self._entrance.admit(request)
        key = header(request, "Idempotency-Key")
        body = await self._entrance.read_body(request)
        job = await self._jobs.create(caller, new_job(body, key))
        headers = {"Location": f"/v1/jobs/{job.id}", "x-tidegate-job": job.id}
        return self._answer(job, status=202, headers=headers)

    async def list(self, request: web.Request) -> web.Response:
        """A page of jobs."""
        caller, query = self._entrance.admit(request, offered=("page_size", "page_token"))
        page = await self._jobs.page(caller, page_size_in(query), query.get("page_token", ""))
        return _json(encode_page(page, self._sse_url))

    async def get(self, request: web.Request) -> web.Response:
        """The job."""
        caller = self._entrance.admit_reader(request)
        return self._answer(await self._jobs.get(caller, request.match_info["job_id"]))

    async def cancel(self, request: web.Request) -> web.Response:
        """The job, its cancel being recorded."""
        caller = self._entrance.admit_reader(request)
        return self._answer(await self._jobs.cancel(caller, request.match_info["job_id"]))

    async def delete(self, request: web.Request) -> web.Response:
        """204."""
        caller, _ = self._entrance.admit(request)
        await self._jobs.delete(caller, request.match_info["job_id"])
        return web.Response(status=204)

    def _answer(
        self, job: JobView, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        return _json(encode_job(job, self._sse_url), status=status, headers=headers)


def make_http_app(
    routes: Iterable[web.RouteDef],
    discovery: Callable[[], Mapping[str, Any]],
    metrics: ChassisMetrics,
    tracing: Tracing,
    *,
    origins: Origins,
) -> web.Application:
    """The application of all surfaces' routes. `discovery` is what /.well-known/tidegate tells."""

    async def discover(request: web.Request) -> web.Response:
        check_query(request.query.items())
        return _json(msgspec.json.encode(discovery()))

    document = msgspec.json.encode(openapi_document())

    async def describe(request: web.Request) -> web.Response:
        check_query(request.query.items())
        return _json(document)

    # Bodies are bounded by `Entrance`, for the bound is known only once NATS is connected.
    app = web.Application(client_max_size=0)
    app.add_routes(
        [*routes, web.get("/.well-known/tidegate", discover), web.get("/openapi.json", describe)]
    )
    install_cors(app, origins)
    install_http_errors(app, metrics, tracing)
    return app


def _json(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
