"""What the client commands read from the environment."""

import os
from collections.abc import Iterable

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidegate.chassis.keyring import DEVELOPMENT_KEY
from tidegate.chassis.settings import PREFIX, ServiceSettings, setting_names


class ClientSettings(ServiceSettings):
    """Where the platform is, and who calls."""

    url: str = Field(
        "http://127.0.0.1:8080",
        pattern="^https?://",
        description="Base URL of the gateway's HTTP; everything else is discovered from there.",
    )
    api_key: SecretStr = Field(
        SecretStr(DEVELOPMENT_KEY),
        description="API key. The default is that of `tidegate up` and works on loopback only.",
    )


class ProviderEnvironment(BaseSettings):
    """Whether the shell already names a provider, as the `openai` package would read it.

    With either set, `tidegate up` uses that provider instead of the simulator.
    """

    model_config = SettingsConfigDict(env_prefix="OPENAI_", env_ignore_empty=True, frozen=True)

    api_key: SecretStr | None = Field(
        None, description="The provider's key. Services read it by this name; it is not stored."
    )
    base_url: str | None = Field(
        None, description="The provider's base URL. None, with a key: OpenAI's own."
    )


def environment_without_unknown(kinds: Iterable[type[BaseSettings]]) -> dict[str, str]:
    """This process's environment, less what has our prefix and no reader among `kinds`."""
    known = setting_names(kinds)
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(PREFIX) or name.upper() in known
    }
