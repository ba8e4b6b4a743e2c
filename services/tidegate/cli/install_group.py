"""`tidegate install` and its commands."""

import sys
from pathlib import Path
from typing import Any

import click

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def install() -> None:
    """What the chart's own pods run once, before the services begin."""


@install.command("secrets")
@click.option("--secret", required=True, help="The Secret to make or to complete.")
@click.option("--owner", help="The ConfigMap that it is to go with; without one it stays.")
def install_secrets(secret: str, owner: str | None) -> None:
    """Make what an installation's Secret lacks: NATS passwords, signing secrets, a first API key.

    What is there is left as it is. This runs in a pod whose service account may read and write it.
    """
    from tidegate.cli.install.secrets import run_secrets

    sys.exit(run_secrets(secret, owner))


@install.command("nats-config")
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--passwords", required=True, type=_FOLDER, help="A folder with a file for each NATS user."
)
@click.option("--server-name", required=True, help="The server's own name in its cluster.")
@click.option(
    "--store",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="JetStream's directory.",
)
@click.option(
    "--peers", default="", help="host:port of all servers of the cluster, separated by commas."
)
@click.option("--cluster-name", default="tidegate", show_default=True)
@click.option("--sync-always", is_flag=True, help="Flush to the disk before each acknowledgement.")
@click.option("--tls", type=_FOLDER, help="A folder of tls.crt, tls.key and ca.crt.")
def install_nats_config(peers: str, **options: Any) -> None:
    """Write the configuration of a NATS server: a user for each service, with its rights."""
    from tidegate.cli.install.nats import NatsOptions, run_nats_config

    names = tuple(filter(None, (peer.strip() for peer in peers.split(","))))
    sys.exit(run_nats_config(NatsOptions(peers=names, **options)))
