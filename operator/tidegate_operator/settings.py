"""Settings of the operator; the template of its pods is needed, all else has a default."""

from pathlib import Path
from typing import Final

from pydantic import Field

from tidegate.chassis.settings import (
    DrainSettings,
    HealthSettings,
    ListenAddress,
    LogSettings,
    NatsSettings,
    TracingSettings,
)

_ALL: Final = "*"


class OperatorSettings(LogSettings, NatsSettings, HealthSettings, TracingSettings, DrainSettings):
    """Which pools an operator keeps, what their pods are made of, and who it is."""

    health_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:9105"),
        description="host:port of /livez, /readyz and /metrics; in a container use `:9105`.",
    )
    operator_template_file: Path = Field(
        description=(
            "File of the PodTemplateSpec, in YAML or JSON, that the pods of all pools are made of; "
            "each pool's own `template` is merged over it."
        )
    )
    operator_name: str = Field(
        "tidegate-operator",
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$",
        description=(
            "Name of the Lease that the replicas of this operator share, in their own namespace. "
            "With that it also marks the JetStream consumers that it makes."
        ),
    )
    operator_namespaces: str | None = Field(
        None,
        description=(
            "Comma-separated namespaces whose pools are kept; `*`: those of all. None: those of "
            "the operator's own."
        ),
    )
    operator_default_pool_file: Path | None = Field(
        None,
        description=(
            "File of a WorkerPool, or of a list of several, in YAML or JSON, that are made in the "
            "operator's namespace where they are missing. None: pools are made by people alone."
        ),
    )
    operator_owner: str | None = Field(
        None,
        description=(
            "ConfigMap in the operator's namespace that the pools of that file and the Lease "
            "belong to, and with which they are deleted. None: they belong to nobody."
        ),
    )
    operator_lease_seconds: int = Field(
        15,
        ge=5,
        le=300,
        description=(
            "Seconds after which another replica takes over from one that says nothing. It stops "
            "acting by itself after two thirds of that."
        ),
    )
    operator_look_seconds: float = Field(
        1.0,
        ge=0.2,
        le=60,
        description="Seconds between looks at a queue with jobs; at others it looks less often.",
    )

    def namespaces(self, own: str) -> tuple[str, ...]:
        """The namespaces to look at; none stands for all. `own` is the operator's."""
        given = own if self.operator_namespaces is None else self.operator_namespaces
        if given.strip() == _ALL:
            return ()
        names = (name.strip() for name in given.split(","))
        return tuple(dict.fromkeys(name for name in names if name))
