"""`tidegate install secrets`: makes what is missing in the Secret of an installation."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Final

import click

from tidegate.chassis.keyring import make_key
from tidegate.chassis.kubernetes_api import ApiServerError, ConflictError, KubernetesApi
from tidegate.chassis.settings import PodSettings, SettingsError, load_settings
from tidegate.cli.install.api_server import (
    add_to_secret,
    config_map_uid,
    create_secret,
    read_secret,
)
from tidegate.cli.nats_config import ADMIN, ROUTES, USERS

# Who the first key belongs to. It may see the figures of all tenants.
_TENANT: Final = "default"
_KEY: Final = "api-key"
_KEYS_FILE: Final = "keys.jsonl"
_PASSWORDS: Final = tuple(f"nats-{user}" for user in (*USERS, ADMIN, ROUTES))
_SIGNING: Final = ("token-secret", "cache-key")
# Writers beside each other: a Job that Kubernetes ran twice.
_TRIES: Final = 5


def missing(there: Mapping[str, bytes]) -> dict[str, bytes]:
    """What has to be added to a Secret's data, made anew at each call.

    Without `keys.jsonl` there is no key that could be let in, so that one is made; with it, a
    plain key that is not there was taken away by a careful person.
    """
    lengths = dict.fromkeys(_PASSWORDS, 32) | dict.fromkeys(_SIGNING, 48)
    made = {
        name: secrets.token_urlsafe(length).encode()
        for name, length in lengths.items()
        if not there.get(name)
    }
    if not there.get(_KEYS_FILE):
        key, line = make_key(_TENANT, operator=True)
        made |= {_KEY: key.encode(), _KEYS_FILE: line}
    return made


def run_secrets(secret: str, owner: str | None) -> int:
    """Makes or completes the Secret, and prints the names of what it made."""
    try:
        made = asyncio.run(_complete(load_settings(PodSettings), secret, owner))
    except (SettingsError, ApiServerError) as error:
        click.echo(f"error: {error}", err=True)
        return 1
    said = f"made in the Secret {secret}: {', '.join(sorted(made))}"
    click.echo(said if made else f"the Secret {secret} has all that is needed", err=True)
    return 0


async def _complete(settings: PodSettings, secret: str, owner: str | None) -> list[str]:
    async with KubernetesApi(settings) as api:
        for _ in range(_TRIES):
            try:
                return await _try(api, secret, owner)
            except ConflictError:
                continue
    raise ApiServerError(f"the Secret {secret} changes all the time; try again")


async def _try(api: KubernetesApi, secret: str, owner: str | None) -> list[str]:
    found = await read_secret(api, secret)
    added = missing(found.data if found else {})
    if found is None:
        # It goes with what it belongs to: an uninstall leaves no secret behind.
        uid = await config_map_uid(api, owner) if owner else None
        await create_secret(api, secret, added, owner=(owner, uid) if owner and uid else None)
    elif added:
        await add_to_secret(api, found, added)
    return list(added)
