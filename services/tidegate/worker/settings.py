"""Settings of the worker; routes are needed, all else has defaults that start it."""

from pathlib import Path

from pydantic import Field

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


class WorkerSettings(LogSettings, NatsSettings, HealthSettings, TracingSettings, DrainSettings):
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
        description="What attempts say they ran on. None: the name of the host.",
    )
    max_attempts: int = Field(
        3,
        ge=1,
        description=(
            "Attempts after which a job fails, those lost with their worker included; those that "
            "a drain handed back do not count."
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

    def queue_names(self, routes: Routes) -> tuple[str, ...]:
        """The queues to serve. Raises SettingsError for a bad name or too few slots."""
        names = routes.queues
        if self.queues is not None:
            given = (name.strip() for name in self.queues.split(","))
            names = tuple(dict.fromkeys(name for name in given if name))
        try:
            for name in names:
                check_name(name, "TIDEGATE_QUEUES")
        except InvalidRequest as error:
            raise SettingsError(error.message) from error
        if not names:
            raise SettingsError("TIDEGATE_QUEUES: names no queue")
        if self.worker_concurrency < 2 * len(names):
            raise SettingsError(
                f"TIDEGATE_WORKER_CONCURRENCY: {len(names)} queues need two slots each"
            )
        return names
