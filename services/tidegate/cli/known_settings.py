"""Every setting that the distribution knows, and the environment that services inherit."""

import click
from pydantic_settings import BaseSettings

from tidegate.cache.settings import CacheSettings
from tidegate.chassis.settings import unknown_settings
from tidegate.cli.settings import (
    ClientSettings,
    ProviderEnvironment,
    environment_without_unknown,
)
from tidegate.gateway.settings import GatewaySettings
from tidegate.simulator.settings import SimulatorSettings
from tidegate.streaming.settings import StreamingSettings
from tidegate.worker.settings import WorkerSettings
from tidegate_operator.settings import OperatorSettings

SERVICES: dict[str, type[BaseSettings]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "cache": CacheSettings,
    "streaming": StreamingSettings,
    "simulator": SimulatorSettings,
    "operator": OperatorSettings,
    "client commands": ClientSettings,
    "tidegate up": ProviderEnvironment,
}


def report_unknown_settings() -> None:
    """Writes a line to standard error for each variable of our prefix that nobody reads."""
    for sentence in unknown_settings(SERVICES.values()):
        click.echo(f"warning: {sentence}", err=True)


def inherited_environment(*, console: bool) -> dict[str, str]:
    """This process's environment for its services, without what was reported already."""
    environment = environment_without_unknown(SERVICES.values())
    environment.setdefault("TIDEGATE_LOG_FORMAT", "console" if console else "json")
    return environment
