"""API keys, and the tokens made from them: which tenant a caller is, and what it may do.

The key file holds one JSON object per line, `{"key_id", "tenant", "sha256", "created_at"}`, and no
key: a key has 256 random bits, so that its plain SHA-256 is as good a secret as a slow hash. With
`"operator": true` a key may also see what is of all tenants together. The file is looked at each
second. A changed one comes into force whole or, where a line is bad, not at all: then the keys that
were known stay known.
"""

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
from tidegate.chassis.tasks import TaskGuard
from tidegate.chassis.tokens import Scope, Tokens, TokenSecretError, is_token
from tidegate.chassis.watched_file import WatchedFile
from tidegate.contracts.errors import (
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Reason,
    Unauthenticated,
)
from tidegate.contracts.subjects import check_name

_log = structlog.stdlib.get_logger(module=__name__)

DEVELOPMENT_KEY: Final = "tidegate-dev"
DEVELOPMENT_TENANT: Final = "dev"

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
    token_secret_file: Path | None = Field(
        None,
        description=(
            "File of the secret that signs browsers' tokens, the same for gateway and streaming: "
            "at least 32 bytes, one secret per line; the first signs, all verify. Read anew within "
            "a second of a change. None: no tokens."
        ),
    )


class KeyFileError(Exception):
    """The key file cannot be used. The text says where and why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the tenant, and which of its keys; `scope` bounds who came with a token of it.

    An `operator` may see figures of all tenants together; jobs of others are no more hers.
    """

    tenant: str
    key_id: str
    scope: Scope | None = None
    operator: bool = False

    def check_job(self, job_id: str) -> None:
        """Raises NotFound for a job outside the scope, as for another tenant's."""
        if self.scope is not None and self.scope.job_id not in {None, job_id}:
            raise NotFound("no such job")

    def check_operator(self) -> None:
        """Raises PermissionDenied for who may not see what is of all tenants together."""
        if not self.operator:
            raise PermissionDenied(
                "this is of all tenants together, for an operator's key alone: "
                "tidegate keys new TENANT --operator"
            )


class _Record(msgspec.Struct, frozen=True, omit_defaults=True):
    key_id: str
    tenant: str
    sha256: str
    created_at: str
    operator: bool = False


_decoder = msgspec.json.Decoder(_Record)


class Keyring:
    """A component that knows the keys. `path` None: only the development key, if it is on."""

    name = "keyring"

    def __init__(
        self,
        path: Path | None,
        guard: TaskGuard,
        *,
        development: bool = False,
        tokens: Tokens | None = None,
    ) -> None:
        self._development = development
        self._tokens = tokens
        self._callers: Mapping[bytes, Caller] = {}
        # Tenants and key ids.
        self._known: frozenset[tuple[str, str]] = frozenset()
        self._file: WatchedFile[dict[bytes, Caller]] | None = None
        if path is None:
            self._take({})
            return
        self._file = WatchedFile(
            self.name,
            path,
            guard,
            parse=lambda content: _callers_of(path, content),
            take=self._take,
            refusal=KeyFileError,
        )

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller of an `Authorization` header (`Bearer <key>`).

        Raises:
            Unauthenticated: there is none, it has another form, or nobody knows the key.
            PermissionDenied: it holds a token, which may do less.
        """
        caller = self.authenticate_reader(authorization)
        if caller.scope is not None:
            raise PermissionDenied("a token may only read and cancel jobs: this needs an API key")
        return caller

    def authenticate_reader(self, authorization: str | None) -> Caller:
        """The caller where reading and cancelling is all there is: a token will do, like a key.

        Whoever calls this has to bound the caller by `Caller.check_job`.

        Raises:
            Unauthenticated: as `authenticate`, or the token is no good.
        """
        credential = _credential_of(authorization)
        caller = self._callers.get(_digest(credential))
        if caller is None and is_token(credential):
            caller = self._bearer_of(credential)
        if caller is None:
            raise Unauthenticated("the API key is not known")
        return caller

    def still_knows(self, caller: Caller, authorization: str) -> bool:
        """Whether a caller that came in with this header would be known now.

        A token's end does not count, for what began before it may last longer; its key does.
        """
        if caller.scope is None:
            return self._callers.get(_digest(_credential_of(authorization))) == caller
        return (caller.tenant, caller.key_id) in self._known

    def new_token(self, caller: Caller, *, job_id: str | None, seconds: int) -> tuple[str, int]:
        """A token of the caller's key, and its end in epoch seconds.

        Raises:
            FailedPrecondition: there is no secret to sign it with.
        """
        if self._tokens is None:
            raise FailedPrecondition(
                "tokens are off: TIDEGATE_TOKEN_SECRET_FILE is not set", reason=Reason.TOKENS_OFF
            )
        return self._tokens.make(caller.tenant, caller.key_id, job_id=job_id, seconds=seconds)

    def _bearer_of(self, token: str) -> Caller:
        if self._tokens is None:
            raise Unauthenticated("tokens are off here: TIDEGATE_TOKEN_SECRET_FILE is not set")
        bearer = self._tokens.read(token)
        if (bearer.tenant, bearer.key_id) not in self._known:
            raise Unauthenticated("the API key that the token was made with is not known any more")
        return Caller(bearer.tenant, bearer.key_id, bearer.scope)

    async def start(self) -> None:
        """Watch the files. Raises ServiceFault if one can no longer be used."""
        if self._file is not None:
            await self._file.start()
        if self._tokens is not None:
            await self._tokens.start()

    async def stop(self, deadline: Deadline) -> None:
        """Look at the files no more."""
        if self._file is not None:
            await self._file.stop(deadline)
        if self._tokens is not None:
            await self._tokens.stop(deadline)

    def refresh(self) -> bool:
        """Take the file over if it changed since the last look; whether it did.

        Raises:
            KeyFileError: it cannot be used, and what was known before stays in force. A file with a
                bad line is said once, one that cannot be read at each look.
        """
        try:
            return self._file is not None and self._file.refresh()
        except OSError as error:
            raise KeyFileError(f"{error.filename}: {error.strerror}") from error

    def _take(self, callers: dict[bytes, Caller]) -> None:
        if self._development:
            callers = callers | {
                _digest(DEVELOPMENT_KEY): Caller(DEVELOPMENT_TENANT, "development", operator=True)
            }
        if self._callers != callers:
            _log.info("keys taken over", keys=len(callers))
        self._callers = callers
        self._known = frozenset((each.tenant, each.key_id) for each in callers.values())


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
    keyring = Keyring(
        settings.keys_file,
        guard,
        development=settings.development,
        tokens=_tokens_of(settings.token_secret_file, guard),
    )
    try:
        keyring.refresh()
    except KeyFileError as error:
        raise SettingsError(f"TIDEGATE_KEYS_FILE: {error}") from error
    return keyring


def make_key(tenant: str, *, operator: bool = False) -> tuple[str, bytes]:
    """A key for a tenant, and the line of a key file that lets it in. Raises as `new_key`."""
    check_name(tenant, "tenant")
    key = _PREFIX + _base32(32)
    record = _Record(
        key_id="key_" + _base32(10),
        tenant=tenant,
        sha256=_digest(key).hex(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        operator=operator,
    )
    return key, msgspec.json.encode(record) + b"\n"


def new_key(path: Path, tenant: str, *, operator: bool = False) -> str:
    """Make a key for a tenant and add it to the file; returns the key, which is kept nowhere.

    `operator`: whether it may also see what is of all tenants together.

    Raises:
        InvalidRequest: the tenant's name cannot stand in a subject.
        OSError: the file cannot be written.
    """
    key, line = make_key(tenant, operator=operator)
    # Whoever can read the file learns tenants and hashes only, but needs neither.
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(file).st_size
        joint = b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""
        os.write(file, joint + line)
    finally:
        os.close(file)
    return key


def _tokens_of(path: Path | None, guard: TaskGuard) -> Tokens | None:
    try:
        return None if path is None else Tokens.of_file(path, guard)
    except TokenSecretError as error:
        raise SettingsError(f"TIDEGATE_TOKEN_SECRET_FILE: {error}") from error


def _credential_of(authorization: str | None) -> str:
    scheme, _, credential = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("an API key is needed, as in 'Authorization: Bearer <key>'")
    return credential.strip()


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
        callers[digest] = Caller(record.tenant, record.key_id, operator=record.operator)
    return callers


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _base32(size: int) -> str:
    return b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
