"""The fleet's key: what the platform's own processes know each other by.

Its file holds one secret per line: the first is presented, all are accepted. A secret is replaced
by adding the new one as second line everywhere, then making it the first, then removing the old
one; each process reads its file once, when it starts.
"""

import hmac
from pathlib import Path
from typing import Final

from pydantic import Field

from tidegate.chassis.settings import ServiceSettings, SettingsError
from tidegate.chassis.tokens import TokenSecretError, parse_secrets

# The setting of its file, in every process that knows the key.
_VARIABLE: Final = "TIDEGATE_CACHE_KEY_FILE"
# Not that of API keys: neither can be taken for the other.
_SCHEME: Final = "Fleet "


class FleetKey:
    """Presents the first of `secrets` and accepts all; each is of visible ASCII characters."""

    def __init__(self, *secrets: str) -> None:
        self._presented = _SCHEME + secrets[0]
        self._accepted = tuple((_SCHEME + secret).encode() for secret in secrets)

    @classmethod
    def of_file(cls, path: Path) -> "FleetKey":
        """The key of a file.

        Raises:
            SettingsError: it cannot be read, or holds no secret, or one that is too short or that
                cannot be sent in a header. The text quotes nothing of it.
        """
        try:
            secrets = parse_secrets(path, path.read_bytes())
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise SettingsError(f"{_VARIABLE}: {path}: {why}") from error
        except TokenSecretError as error:
            raise SettingsError(f"{_VARIABLE}: {error}") from error
        if not all(_is_sendable(secret) for secret in secrets):
            raise SettingsError(
                f"{_VARIABLE}: {path}: a secret is a single line of visible ASCII characters"
            )
        return cls(*(secret.decode() for secret in secrets))

    @property
    def authorization(self) -> str:
        """What a caller presents, as the value of `authorization`."""
        return self._presented

    def accepts(self, authorization: str | None) -> bool:
        """Whether this is the fleet's key. How long it takes tells nothing of a wrong one."""
        given = (authorization or "").encode(errors="replace")
        fits = False
        for each in self._accepted:
            fits |= hmac.compare_digest(given, each)
        return fits


class CacheClientSettings(ServiceSettings):
    """Where the cache is, for a service that asks it by the fleet's key."""

    cache_target: str | None = Field(
        None,
        description=(
            "host:port of the cache service, in Kubernetes a headless service. None: there is "
            "none, and every job calls its model."
        ),
    )
    cache_key_file: Path | None = Field(
        None,
        description=(
            "File of the secret that the platform's own processes know each other by, needed with "
            "`cache_target`: at least 32 bytes, one secret per line; the first is presented, all "
            "are accepted. Read at start."
        ),
    )

    def fleet_key(self) -> FleetKey:
        """The key that the cache is asked with. Raises SettingsError where there is none."""
        if self.cache_key_file is None:
            raise SettingsError(f"{_VARIABLE}: is needed with TIDEGATE_CACHE_TARGET")
        return FleetKey.of_file(self.cache_key_file)


def _is_sendable(secret: bytes) -> bool:
    return all(0x20 < byte < 0x7F for byte in secret)
