"""`tidegate keys new`."""

from pathlib import Path

import click

from tidegate.chassis.keyring import new_key
from tidegate.contracts.errors import InvalidRequest


def run_new(tenant: str, path: Path, *, operator: bool) -> int:
    """Makes a key, prints it to standard output, and where its hash went to standard error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        key = new_key(path, tenant, operator=operator)
    except (InvalidRequest, OSError) as error:
        click.echo(f"error: {error}", err=True)
        return 1
    click.echo(key)
    click.echo(
        f"shown once; its hash is in {path}; services that use the file take it up within a second",
        err=True,
    )
    return 0
