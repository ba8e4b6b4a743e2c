"""Settings groups, read from environment variables of the prefix `TIDEGATE_`.

A service composes its settings from the groups it needs and adds its own fields::

    class GatewaySettings(LogSettings, NatsSettings, HealthSettings, DrainSettings):
        http_listen: ListenAddress = Field(ListenAddress("127.0.0.1:8080"), description="...")

Names are flat: the field `nats_url` is `TIDEGATE_NATS_URL`. An address to listen on is always
called `*_LISTEN` and holds host and port together, because Kubernetes injects
`TIDEGATE_<SERVICE>_PORT` for a service of that name. The environment is read by settings classes
(this module and each room's `settings.py`), with one exception: a provider's key, whose variable a
routes file names, is read by `providers.routes` at the last moment.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, GetCoreSchemaHandler, SecretStr, ValidationError
from pydantic_core import CoreSchema, core_schema
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "TIDEGATE_"

# What Kubernetes injects for a service whose name begins with "tidegate-" is not ours to judge.
_SERVICE_LINK = re.compile(
    r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)$"
)


class ListenAddress(str):
    """`host:port` to listen on, such as `127.0.0.1:8080`, `[::1]:8080` or `:8080` (all interfaces).

    Port 0 takes any free port. Raises ValueError for anything else.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Check and normalise `value`."""
        host, colon, port = value.strip().rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("expected host:port, with a port from 0 to 65535")
        if ":" in bare and bare == host:
            raise ValueError("an IPv6 host is written in brackets, as in [::1]:8080")
        name = f"[{bare}]" if ":" in bare else bare or "0.0.0.0"  # noqa: S104
        return super().__new__(cls, f"{name}:{int(port)}")

    @property
    def host(self) -> str:
        """The host without brackets."""
        return self.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The port; 0 means any free one."""
        return int(self.rpartition(":")[2])

    def with_port(self, port: int) -> "ListenAddress":
        """The same host with another port."""
        return ListenAddress(f"{self.rpartition(':')[0]}:{port}")

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class ServiceSettings(BaseSettings):
    """The base of every settings group: prefix, immutability, and no values in error texts."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )


class LogSettings(ServiceSettings):
    """What goes to standard error."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Least severe level that is written. Libraries are heard from `warning` up.",
    )
    log_format: Literal["json", "console"] = Field(
        "json",
        description="`json`: one object per line, for collectors. `console`: for a person's eyes.",
    )


class NatsSettings(ServiceSettings):
    """Where the NATS servers are, and who we are to them."""

    nats_url: str = Field(
        "nats://127.0.0.1:4222",
        description=(
            "Comma-separated URLs of the NATS servers (nats:// or tls://). A few of a cluster are "
            "enough: the others are learnt from them."
        ),
    )
    nats_user: str | None = Field(
        None, description="User name for NATS. None: the URL's own, or no authentication."
    )
    nats_password: SecretStr | None = Field(
        None, description="Password of `nats_user`. None: see `nats_password_file`."
    )
    nats_password_file: Path | None = Field(
        None,
        description=(
            "File that holds the password of `nats_user`, read anew at every connect so that a "
            "rotated secret is picked up. Used where `nats_password` is None."
        ),
    )
    nats_tls_ca_file: Path | None = Field(
        None,
        description=(
            "Certificates (PEM) to trust for tls:// servers. None: those of the operating system."
        ),
    )
    nats_ping_interval_seconds: float = Field(
        2.0,
        gt=0,
        le=60,
        description=(
            "Seconds between pings. A server that froze is noticed after three of these, which "
            "the library's own default would stretch to minutes."
        ),
    )
    nats_connect_timeout_seconds: float = Field(
        2.0, gt=0, le=60, description="Seconds that one attempt to connect may take."
    )

    @property
    def nats_servers(self) -> list[str]:
        """The URLs of `nats_url`, one by one."""
        return [url.strip() for url in self.nats_url.split(",") if url.strip()]

    def read_nats_password(self) -> str | None:
        """The password, from the setting or the file; None without either. Raises OSError."""
        if self.nats_password is not None:
            return self.nats_password.get_secret_value()
        if self.nats_password_file is not None:
            return self.nats_password_file.read_text(encoding="utf-8").strip()
        return None


class HealthSettings(ServiceSettings):
    """Where liveness, readiness and metrics are served."""

    health_listen: ListenAddress = Field(
        ListenAddress("127.0.0.1:9100"),
        description=(
            "host:port of /livez, /readyz and /metrics. Each service has its own default; in a "
            "container listen on all interfaces, as in `:9101`, so that the probes can come in."
        ),
    )


class TracingSettings(ServiceSettings):
    """Where spans go."""

    otlp_endpoint: str | None = Field(
        None,
        description=(
            "Base URL of an OTLP/HTTP collector, such as http://collector:4318 (the path "
            "/v1/traces is added where none is given). None: no spans leave the process, while "
            "trace ids are still passed on. Needs the extra `tidegate[otel]`."
        ),
    )
    trace_sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of new traces to record; a caller's own decision is always respected.",
    )


class DrainSettings(ServiceSettings):
    """How a process ends."""

    drain_seconds: float = Field(
        25.0,
        ge=0,
        description=(
            "Seconds from the signal to the end within which everything must be handed back. Keep "
            "it below the pod's terminationGracePeriodSeconds (30 by default)."
        ),
    )
    drain_notice_seconds: float = Field(
        0.0,
        ge=0,
        description=(
            "Seconds, out of `drain_seconds`, to go on serving after readiness was withdrawn, so "
            "that load balancers notice before the door closes. 0: close at once."
        ),
    )


class GrpcServerSettings(ServiceSettings):
    """How gRPC servers treat their connections."""

    grpc_max_message_bytes: int = Field(
        8 * 1024 * 1024, gt=0, description="Largest message in bytes, either way."
    )
    grpc_max_connection_age_seconds: float = Field(
        300.0,
        gt=0,
        description="Seconds after which a client is asked to reconnect, so that load spreads.",
    )
    grpc_max_connection_age_grace_seconds: float = Field(
        600.0,
        gt=0,
        description="Seconds that calls in flight may still take after that; then they are cut.",
    )


class PodSettings(BaseSettings):
    """Where the API server is, and who we are to it: what the kubelet gives every pod.

    The names are Kubernetes' own (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)

    kubernetes_service_host: str = Field(
        ..., description="Host of the API server. The kubelet sets it in every pod."
    )
    kubernetes_service_port: int = Field(443, description="Its port.")
    service_account_directory: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        description="Where the pod's token, its namespace and the API server's certificate are.",
    )

    @property
    def url(self) -> str:
        """Base URL of the API server."""
        host = self.kubernetes_service_host
        return f"https://{f'[{host}]' if ':' in host else host}:{self.kubernetes_service_port}"

    @property
    def authority(self) -> Path:
        """The file with the API server's certificate authority."""
        return self.service_account_directory / "ca.crt"

    def read(self, name: str) -> str:
        """A file of the service account: `token`, `namespace`. Raises OSError."""
        return (self.service_account_directory / name).read_text(encoding="utf-8").strip()


class SettingsError(Exception):
    """Settings that cannot be used. The text names variables, one per line, and never values."""


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(kind: type[SettingsT]) -> SettingsT:
    """`kind` read from the environment. Raises SettingsError with one line per bad variable."""
    try:
        return kind()
    except ValidationError as error:
        lines = [_describe(kind, issue["loc"], issue["msg"]) for issue in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def _describe(kind: type[BaseSettings], loc: tuple[int | str, ...], message: str) -> str:
    prefix = kind.model_config.get("env_prefix", "")
    name = f"{prefix}{loc[0]}".upper() if loc else kind.__name__
    return f"{name}: {message}"


def listen_addresses(settings: BaseSettings) -> list[ListenAddress]:
    """Every address that `settings` say to listen on, whatever its field is called."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [value for value in values if isinstance(value, ListenAddress)]


def setting_names(kinds: Iterable[type[BaseSettings]]) -> set[str]:
    """The environment variables, in upper case, that these settings classes read."""
    names: set[str] = set()
    for kind in kinds:
        prefix = kind.model_config.get("env_prefix", "")
        names.update(f"{prefix}{field}".upper() for field in kind.model_fields)
    return names


def unknown_settings(
    kinds: Iterable[type[BaseSettings]], environ: Mapping[str, str] | None = None
) -> list[str]:
    """One sentence for each variable of our prefix that no class of `kinds` reads.

    `kinds` are the settings classes of the whole distribution, since `tidegate up` gives one
    environment to all services. `environ`: None means the process's own. Values are never shown.
    """
    known = setting_names(kinds)
    names = sorted({name.upper() for name in (os.environ if environ is None else environ)})
    return [
        _suggest(name, known)
        for name in names
        if name.startswith(PREFIX) and name not in known and not _SERVICE_LINK.search(name)
    ]


def _suggest(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{name} is not a setting of Tidegate{hint}"
