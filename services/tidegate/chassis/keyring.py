"""API keys: which tenant a caller is.

The key file holds one JSON object per line, `{"key_id", "tenant", "sha256", "created_at"}`, and no
key: a key has 256 random bits, so that its plain SHA-256 is as good a secret as a slow hash. The
file is looked at each second. A changed one comes into force whole or, where a line is bad, not at
all: then the keys that were known stay known.
"""

import asyncio
import ipaddress
import os
import secrets
from base64 import b32encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import structlog
from pydantic import Field

from tidegate.chassis.component import Deadline
from tidegate.chassis.settings import ListenAddress, ServiceSettings, SettingsError
from tidegate.chassis.tasks import ServiceFault, TaskGuard
from tidegate.contracts.errors import InvalidRequest, Unauthenticated
from tidegate.contracts.subjects import check_name

_log = structlog.stdlib.get_logger(module=__name__)

DEVELOPMENT_KEY: Final = "tidegate-dev"
DEVELOPMENT_TENANT: Final = "dev"

_WATCH_SECONDS = 1.0
_PREFIX = "tg_"


class KeySettings(ServiceSettings):
    """Who is let in."""

    keys_file: Path | None = Field(
        None,
        description=(
            "File of the API keys' hashes, one JSON object per line; read anew within a second "
            "of a change. None: only the development key, if that is on."
        ),
    )
    development: bool = Field(
        False,
        description=(
            f"Whether the well-known key `{DEVELOPMENT_KEY}` is let in, as tenant "
            f"`{DEVELOPMENT_TENANT}`. Refused at start unless every address is on loopback."
        ),
    )


class KeyFileError(Exception):
    """The key file cannot be used. The text says where and why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the tenant, and which of its keys."""

    tenant: str
    key_id: str


class _Record(msgspec.Struct, frozen=True):
    key_id: str
    tenant: str
    sha256: str
    created_at: str


_decoder = msgspec.json.Decoder(_Record)


class Keyring:
    """A component that knows the keys. `path` None: only the development key, if it is on."""

    name = "keyring"

    def __init__(self, path: Path | None, guard: TaskGuard, *, development: bool = False) -> None:
        self._path = path
        self._guard = guard
        self._development = development
        self._callers: Mapping[bytes, Caller] = {}
        self._seen: tuple[int, ...] | None = None
        self._watching: asyncio.Task[object] | None = None

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller of an `Authorization` header (`Bearer <key>`).

        Raises:
            Unauthenticated: there is none, it has another form, or nobody knows the key.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("an API key is needed, as in 'Authorization: Bearer <key>'")
        caller = self._callers.get(_digest(key.strip()))
        if caller is None:
            raise Unauthenticated("the API key is not known")
        return caller

    async def start(self) -> None:
        """Watch the file. Raises ServiceFault if it can no longer be used."""
        try:
            self.refresh()
        except KeyFileError as error:
            raise ServiceFault(self.name, str(error)) from error
        if self._path is not None:
            self._watching = self._guard.spawn_eternal(self.name, self._watch())

    async def stop(self, deadline: Deadline) -> None:
        """Look at the file no more."""
        del deadline  # nothing to wait for
        if self._watching is not None:
            self._watching.cancel()

    def refresh(self) -> bool:
        """Take the file over if it changed since the last look; whether it did.

        Raises:
            KeyFileError: it cannot be used, and what was known before stays in force. A file with a
                bad line is said once, one that cannot be read at each look.
        """
        mark = _mark_of(self._path)
        if mark == self._seen:
            return False
        content = b"" if self._path is None else _read(self._path)
        # Not before it was read: the next look has to try again what failed in this one.
        self._seen = mark
        callers = {} if self._path is None else _callers_of(self._path, content)
        if self._development:
            callers[_digest(DEVELOPMENT_KEY)] = Caller(DEVELOPMENT_TENANT, "development")
        self._callers = callers
        return True

    async def _watch(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                if self.refresh():
                    said = ""
                    _log.info("keys taken over", keys=len(self._callers))
            except KeyFileError as error:
                if str(error) != said:
                    said = str(error)
                    _log.error("keys stay as they were", reason=said)


def make_keyring(
    settings: KeySettings, guard: TaskGuard, listens: Iterable[ListenAddress]
) -> Keyring:
    """The keyring that the settings ask for, for a process with these addresses.

    Raises:
        SettingsError: nobody could be let in, the development key could come from outside, or the
            file cannot be used.
    """
    if settings.keys_file is None and not settings.development:
        raise SettingsError(
            "TIDEGATE_KEYS_FILE: name the file of API keys (or, on a machine of your own, set "
            "TIDEGATE_DEVELOPMENT=true)"
        )
    public = [str(listen) for listen in listens if not _is_loopback(listen.host)]
    if settings.development and public:
        raise SettingsError(
            f"TIDEGATE_DEVELOPMENT: refused while listening on {', '.join(public)}, for its key is "
            "known to everybody; listen on 127.0.0.1 or use TIDEGATE_KEYS_FILE"
        )
    keyring = Keyring(settings.keys_file, guard, development=settings.development)
    try:
        keyring.refresh()
    except KeyFileError as error:
        raise SettingsError(f"TIDEGATE_KEYS_FILE: {error}") from error
    return keyring


def new_key(path: Path, tenant: str) -> str:
    """Make a key for a tenant and add it to the file; returns the key, which is kept nowhere.

    Raises:
        InvalidRequest: the tenant's name cannot stand in a subject.
        OSError: the file cannot be written.
    """
    check_name(tenant, "tenant")
    key = _PREFIX + _base32(32)
    record = _Record(
        key_id="key_" + _base32(10),
        tenant=tenant,
        sha256=_digest(key).hex(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    # Whoever can read the file learns tenants and hashes only, but needs neither.
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(file).st_size
        joint = b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""
        os.write(file, joint + msgspec.json.encode(record) + b"\n")
    finally:
        os.close(file)
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or type(error).__name__}") from error


def _callers_of(path: Path, content: bytes) -> dict[bytes, Caller]:
    callers = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = _decoder.decode(line)
            digest = bytes.fromhex(record.sha256)
            check_name(record.tenant, "tenant")
        except (msgspec.DecodeError, ValueError, InvalidRequest) as error:
            raise KeyFileError(f"{path}, line {number}: not a key's record") from error
        if len(digest) != sha256().digest_size:
            raise KeyFileError(f"{path}, line {number}: sha256 must have 64 hexadecimal digits")
        callers[digest] = Caller(record.tenant, record.key_id)
    return callers


def _mark_of(path: Path | None) -> tuple[int, ...]:
    """What changes whenever the file does; empty where there is none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return (-1,)
    if found is None:
        return ()
    # A change of the mode, or one whose author set the time back, moves the last alone.
    return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_ctime_ns)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _base32(size: int) -> str:
    return b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
