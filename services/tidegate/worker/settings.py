"""Settings of the worker; routes are needed, all else has defaults that start it."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from tidegate.chassis.fleet_key import CacheClientSettings
from tidegate.chassis.settings import (
    DrainSettings,
    HealthSettings,
    ListenAddress,
    LogSettings,
    NatsSettings,
    SettingsError,
    TracingSettings,
)
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.subjects import check_name
from tidegate.providers.routes import Routes


class WorkerSettings(
    LogSettings,
    NatsSettings,
    HealthSettings,
    TracingSettings,
    DrainSettings,
    CacheClientSettings,
):
    """Which queues a worker serves, how many jobs at once, and how often one may be tried."""

    health_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:9102"),
        description="host:port of /livez, /readyz and /metrics; in a container use `:9102`.",
    )
    routes_file: Path = Field(
        description="File of the routes: which models there are, where each is answered, its queue."
    )
    queues: str | None = Field(
        None,
        description=(
            "Comma-separated queues to serve. None: every queue of the routes file. The slots are "
            "divided evenly among them; a pool of workers per queue scales better."
        ),
    )
    worker_concurrency: int = Field(
        256,
        ge=2,
        le=4096,
        description=(
            "Jobs that run at once in this process. An eighth is kept for batch jobs, so that "
            "interactive ones never starve them. At least two for each queue."
        ),
    )
    worker_name: str | None = Field(
        None,
        max_length=128,
        description=(
            "What attempts say they ran on, each with a random part of its own added. None: the "
            "name of the host."
        ),
    )
    max_attempts: int = Field(
        6,
        ge=1,
        description=(
            "Calls to providers after which a job fails, whether they failed or were lost with "
            "their worker; those that a drain interrupted do not count."
        ),
    )
    result_ttl_seconds: int = Field(
        86_400,
        ge=60,
        description=(
            "Seconds that a finished job, its answer and its request id are kept. Gateways must "
            "be given the same: whichever of them ends a job, its result is to last as long."
        ),
    )

    cache_lookup_seconds: float = Field(
        0.05,
        gt=0,
        le=5,
        description="Seconds that a job waits for the cache at most; after that it is a miss.",
    )
    cache_store_seconds: float = Field(
        2.0,
        gt=0,
        le=60,
        description=(
            "Seconds that it may take to store an answer, which nobody waits for; jobs that ask "
            "the same meanwhile read it from the log of the one that has it."
        ),
    )

    def queue_names(self, routes: Routes) -> tuple[str, ...]:
        """The queues to serve. Raises SettingsError for a bad name or too few slots."""
        names = self._given_queues(routes)
        try:
            for name in names:
                check_name(name, "TIDEGATE_QUEUES")
        except InvalidRequest as error:
            raise SettingsError(error.message) from error
        if not names:
            raise SettingsError("TIDEGATE_QUEUES: names no queue")
        self.slots_of(names)
        return names

    def require_keys(self, routes: Routes) -> None:
        """Reads the keys that the models of the served queues need. Raises RoutesError."""
        queues = self._given_queues(routes)
        routes.require_keys(route.model for route in routes.values() if route.queue in queues)

    def _given_queues(self, routes: Routes) -> tuple[str, ...]:
        if self.queues is None:
            return routes.queues
        given = (name.strip() for name in self.queues.split(","))
        return tuple(dict.fromkeys(name for name in given if name))

    def slots_of(self, queues: Sequence[str]) -> int:
        """The slots of each of these queues. Raises SettingsError where there are too few."""
        if self.worker_concurrency < 2 * len(queues):
            raise SettingsError(
                f"TIDEGATE_WORKER_CONCURRENCY: {len(queues)} queues need two slots each"
            )
        return self.worker_concurrency // len(queues)
