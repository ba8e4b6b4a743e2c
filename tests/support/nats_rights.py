"""A nats-server whose users have the rights that the product gives them.

    async with server_with_rights(tmp_path) as nats:     # root may do everything: nats.url
        ... login("gateway")                             # and a service what is its own

A missing right ends a process, and a server without users would allow everything.
"""

from pathlib import Path

from tests.support.nats_server import NatsServer
from tidegate.cli.nats_config import USERS, nats_config
from tidegate.cli.nats_config import NatsServer as Configured


def server_with_rights(
    directory: Path, *, more: str = "", without: tuple[str, ...] = ()
) -> NatsServer:
    """The server, not started; each user's password is its name. `more` is configuration too.

    `without` are rights that nobody has, as with users of an older release.
    """
    written = nats_config(Configured("", directory), {user: user for user in USERS})
    rights = written[written.index("authorization") :]
    for right in without:
        rights = rights.replace(f'"{right}", ', "")
        assert f'"{right}"' not in rights, f"{right} is the last of somebody's list"
    config = rights.replace("users: [", "users: [\n{ user: root, password: root }", 1)
    return NatsServer(directory, config=config + more, user="root", password="root")


def login(nats: NatsServer, user: str) -> dict[str, str]:
    """The settings of a service that comes as `user`."""
    return {"nats_url": f"nats://{nats.address}", "nats_user": user, "nats_password": user}
