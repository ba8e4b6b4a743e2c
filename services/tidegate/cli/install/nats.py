"""`tidegate install nats-config`: the configuration of one NATS server of a cluster."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from tidegate.cli.nats_config import (
    ADMIN,
    OPERATOR,
    Cluster,
    NatsServer,
    nats_config,
    password_users,
)
from tidegate.cli.private_file import write_private

_CLIENTS: Final = "0.0.0.0:4222"
_PEERS: Final = "0.0.0.0:6222"
_MONITOR: Final = "0.0.0.0:8222"
_PID_FILE: Final = Path("/tmp/nats.pid")  # noqa: S108


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """What the command is given; `passwords` is a folder with a file for each user."""

    output: Path
    passwords: Path
    server_name: str
    store: Path
    peers: tuple[str, ...] = ()
    cluster_name: str = "tidegate"
    sync_always: bool = False
    tls: Path | None = None


def run_nats_config(options: NatsOptions) -> int:
    """Writes the file."""
    cluster = Cluster(options.cluster_name, _PEERS, options.peers) if options.peers else None
    server = NatsServer(
        _CLIENTS,
        options.store,
        name=options.server_name,
        monitor=_MONITOR,
        pid_file=_PID_FILE,
        cluster=cluster,
        tls=options.tls,
        sync_always=options.sync_always,
    )
    try:
        passwords = {
            user: (options.passwords / user).read_text(encoding="utf-8").strip()
            for user in password_users(
                server,
                admin=(options.passwords / ADMIN).exists(),
                operator=(options.passwords / OPERATOR).exists(),
            )
        }
        write_private(options.output, nats_config(server, passwords))
    except OSError as error:
        click.echo(f"error: {error.filename}: {error.strerror}", err=True)
        return 1
    except ValueError as error:
        click.echo(f"error: {error}", err=True)
        return 1
    click.echo(f"wrote {options.output}", err=True)
    return 0
