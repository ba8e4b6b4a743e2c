"""`tidegate streams apply`."""

import asyncio

import click
from prometheus_client import CollectorRegistry

from tidegate.chassis.logs import configure_logs
from tidegate.chassis.settings import SettingsError, load_settings
from tidegate.chassis.tasks import ServiceFault
from tidegate.gateway.settings import GatewaySettings
from tidegate.gateway.setup import apply_once


def run_apply() -> int:
    """Makes or migrates streams and consumers; prints what changed."""
    try:
        settings = load_settings(GatewaySettings)
        configure_logs(settings, service="streams")
        changed = asyncio.run(apply_once(settings, CollectorRegistry()))
    except (SettingsError, ServiceFault) as error:
        click.echo(f"error: {error}", err=True)
        return 1
    click.echo(f"changed: {', '.join(changed)}" if changed else "nothing to change", err=True)
    return 0
