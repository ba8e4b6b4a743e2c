"""The data directory: one platform at a time, its generated files, its secrets."""

import fcntl
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidegate.cli.nats_config import USERS, NatsServer, nats_config
from tidegate.cli.private_file import write_private
from tidegate.cli.up.plan import (
    HOST,
    Provider,
    UpError,
    UpOptions,
    address_of,
    cache_key_file,
    password_file,
    routes_text,
    token_secret_file,
)


@contextmanager
def owned(data: Path) -> Iterator[None]:
    """Holds the directory for this process.

    Raises:
        UpError: another platform runs from it, or it cannot be written.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("w")
    except OSError as error:
        raise UpError(f"cannot write to {data}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UpError(
                f"a platform already runs from {data}; give another --data and --port-offset"
            ) from error
        yield


def write_files(options: UpOptions, provider: Provider) -> None:
    """Writes the generated configuration, with fresh passwords and fresh secrets."""
    passwords = {user: secrets.token_urlsafe(32) for user in USERS}
    for user, password in passwords.items():
        write_private(password_file(options.data, user), password)
    server = NatsServer(address_of("NATS", options), options.data / "nats")
    write_private(options.data / "nats.conf", nats_config(server, passwords))
    if options.routes is None:
        (options.data / "routes.yaml").write_text(routes_text(provider), encoding="utf-8")
    (options.data / "keys.jsonl").touch()
    for secret_file in (token_secret_file(options.data), cache_key_file(options.data)):
        write_private(secret_file, secrets.token_urlsafe(48) + "\n")


def check_ports(ports: dict[str, int], offset: int) -> None:
    """Finds out before anything starts.

    Raises:
        UpError: a port is taken; names it and the way out.
    """
    for name, port in ports.items():
        with socket.socket() as probe:
            # As the servers do, so that a connection in TIME_WAIT is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError) as error:
                raise UpError(
                    f"port {port} ({name}) is taken; stop what uses it, or move all ports: "
                    f"tidegate up --port-offset {offset + 1000}"
                ) from error
