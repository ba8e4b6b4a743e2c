"""`GET /v1/stats`: the four figures of the whole platform, for its operators."""

import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from tidegate.figures.stats import stats_of
from tidegate.gateway.entrance import Entrance, yes_or_no_in
from tidegate.gateway.fleet import FleetFigures
from tidegate.gateway.queues import QueueWatch
from tidegate.gateway.store_errors import store_errors

_encoder = msgspec.json.Encoder()


class StatsApi:
    """`clock` gives seconds since the epoch."""

    def __init__(
        self,
        fleet: FleetFigures,
        queues: QueueWatch,
        entrance: Entrance,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fleet = fleet
        self._queues = queues
        self._entrance = entrance
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [web.get("/v1/stats", self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """The figures since each process began; with `?snapshots=true` also what each told.

        Raises:
            Unauthenticated, InvalidRequest, PermissionDenied: as they say.
            Unavailable: NATS or JetStream does not answer.
        """
        caller, query = self._entrance.admit(request, offered=("snapshots",))
        with_snapshots = yes_or_no_in(query, "snapshots")
        caller.check_operator()
        with store_errors():
            queues = await self._queues.measure()
        snapshots = await self._fleet.ask()
        stats = stats_of(snapshots, queues, self._clock())
        if with_snapshots:
            stats = msgspec.structs.replace(stats, snapshots=snapshots)
        return web.Response(body=_encoder.encode(stats), content_type="application/json")
