"""Tokens for browsers: what a page may hold, because it is worth little and not for long.

A token is a JSON Web Token (RFC 7519), signed with HS256 by a secret that the services share, made
from an API key and no stronger: it reads and cancels jobs, one or all of a tenant's, until its end.
Nothing is kept of it anywhere. Whoever takes a key away takes its tokens too (see `keyring`).

The secret file holds one secret per line: the first signs, all verify. A secret is replaced by
adding the new one as second line everywhere, then making it the first, then removing the old one.
The file is watched as that of the keys is.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final

import jwt
import msgspec
import structlog

from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.chassis.watched_file import WatchedFile
from tidegate.contracts.errors import InvalidRequest, Unauthenticated
from tidegate.contracts.subjects import check_name

_log = structlog.stdlib.get_logger(module=__name__)

# Clocks of two machines differ by less.
LEEWAY_SECONDS: Final = 5
LONGEST_SECONDS: Final = 3600

_ALGORITHM: Final = "HS256"
_NAME: Final = "tidegate"
_SHORTEST_SECRET: Final = 32  # bytes: what HS256 makes of more adds nothing, less can be guessed
_MOST_SECRETS: Final = 8
# What we make has a few hundred characters; work on what a stranger sends is bounded.
_LONGEST_TOKEN: Final = 4096
_CURE: Final = "openssl rand -base64 48 makes one"
_NOT_VALID: Final = "the token is not valid: get a new one from POST /v1/tokens"
_OVER: Final = "the token has expired: get a new one from POST /v1/tokens"


class TokenSecretError(Exception):
    """The secret file cannot be used. The text says why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The bounds of a token: one job, or None for all of its tenant's; its end in epoch seconds."""

    job_id: str | None
    expires_at: int

    def is_over(self, now: float) -> bool:
        """Whether the token has expired at `now`, in epoch seconds."""
        return now >= self.expires_at + LEEWAY_SECONDS


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a token says: whose it is, which key it was made with, and its bounds."""

    tenant: str
    key_id: str
    scope: Scope


class _Claims(msgspec.Struct, frozen=True):
    tenant: str
    key_id: str
    exp: int
    job: str | None = None


def is_token(credential: str) -> bool:
    """Whether this has the form of a token; no API key of ours has it."""
    return credential.count(".") == 2


def parse_secrets(path: Path, content: bytes) -> tuple[bytes, ...]:
    """The secrets that are the content of the file `path`, the one that signs first.

    Raises:
        TokenSecretError: there is none, there are too many, or one is too short.
    """
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        secret = line.strip()
        if 0 < len(secret) < _SHORTEST_SECRET:
            raise TokenSecretError(
                f"{path}, line {number}: a secret has at least {_SHORTEST_SECRET} bytes ({_CURE})"
            )
        if secret:
            found.append(secret)
    if not found:
        raise TokenSecretError(f"{path}: there is no secret in it ({_CURE})")
    if len(found) > _MOST_SECRETS:
        raise TokenSecretError(f"{path}: more than {_MOST_SECRETS} secrets: remove the old ones")
    return tuple(found)


class Tokens:
    """Makes tokens and reads them. A component that watches its secret file, where it has one."""

    name = "tokens"

    def __init__(self, secrets: tuple[bytes, ...] = ()) -> None:
        self._secrets = secrets
        self._file: WatchedFile[tuple[bytes, ...]] | None = None

    @classmethod
    def of_file(cls, path: Path, guard: TaskGuard) -> "Tokens":
        """With the secrets of a file, for as long as the component runs.

        Raises:
            TokenSecretError: it cannot be used.
        """
        tokens = cls()
        tokens._file = WatchedFile(
            "token secrets",
            path,
            guard,
            parse=lambda content: parse_secrets(path, content),
            take=tokens._take,
            refusal=TokenSecretError,
        )
        try:
            tokens._file.refresh()
        except OSError as error:
            raise TokenSecretError(f"{path}: {error.strerror or type(error).__name__}") from error
        return tokens

    async def start(self) -> None:
        """Watch the file. Raises ServiceFault if it can no longer be used."""
        if self._file is not None:
            await self._file.start()

    async def stop(self, deadline: Deadline) -> None:
        """Look at the file no more."""
        if self._file is not None:
            await self._file.stop(deadline)

    def _take(self, secrets: tuple[bytes, ...]) -> None:
        if self._secrets and self._secrets != secrets:
            _log.info("token secrets taken over", secrets=len(secrets))
        self._secrets = secrets

    def make(
        self, tenant: str, key_id: str, *, job_id: str | None, seconds: int
    ) -> tuple[str, int]:
        """A token and its end in epoch seconds."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": _NAME,
            "aud": _NAME,
            "iat": now,
            "exp": now + seconds,
            "jti": token_urlsafe(12),
            "tenant": tenant,
            "key_id": key_id,
        }
        if job_id is not None:
            claims["job"] = job_id
        return jwt.encode(claims, self._secrets[0], algorithm=_ALGORITHM), now + seconds

    def read(self, token: str) -> Bearer:
        """What the token says.

        Raises:
            Unauthenticated: it is none of ours, or it has expired.
        """
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            raise Unauthenticated(_NOT_VALID)
        for secret in self._secrets:
            try:
                claims = msgspec.convert(_verified(token, secret), _Claims)
                check_name(claims.tenant, "tenant")
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError as error:
                raise Unauthenticated(_OVER) from error
            except (jwt.InvalidTokenError, msgspec.ValidationError, InvalidRequest) as error:
                raise Unauthenticated(_NOT_VALID) from error
            return Bearer(claims.tenant, claims.key_id, Scope(claims.job, claims.exp))
        raise Unauthenticated(_NOT_VALID)


def _verified(token: str, secret: bytes) -> dict[str, Any]:
    return jwt.decode(
        token,
        secret,
        # Never what the token itself names: one of "none" would let anybody in.
        algorithms=[_ALGORITHM],
        audience=_NAME,
        issuer=_NAME,
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "iat", "iss", "aud", "jti"]},
    )
