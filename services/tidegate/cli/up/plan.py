"""What `tidegate up` runs: processes, addresses and settings, as values.

Pure: from options to a plan. Writing the files and starting the processes is for others.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tidegate.cli.nats_config import USERS

HOST: Final = "127.0.0.1"
SIMULATOR_MODEL: Final = "sim-small"
SIMULATOR_EMBEDDINGS: Final = "sim-embedding"
OPENAI_URL: Final = "https://api.openai.com/v1"
_OPENAI_MODEL: Final = "gpt-4o-mini"
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")

PORTS: Final = {
    "NATS": 4222,
    "gateway HTTP": 8080,
    "gateway gRPC": 50051,
    "cache gRPC": 50052,
    "streaming WebSocket": 8081,
    "streaming SSE": 8082,
    "simulator": 8090,
    "gateway health": 9101,
    "streaming health": 9104,
    "worker health": 9102,
    "cache health": 9103,
}
_OF_THE_CACHE: Final = {"cache gRPC", "cache health"}
# Workers after the first one have no number of their own in the list.
_MORE_WORKERS: Final = 9110


class UpError(Exception):
    """Why the platform cannot be started; one line for a person."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The command's options; `port_offset` is added to every port.

    `no_cache`: every question goes to the model.
    """

    data: Path
    port_offset: int = 0
    workers: int = 1
    base_url: str | None = None
    models: tuple[str, ...] = ()
    simulator: bool = False
    routes: Path | None = None
    no_cache: bool = False


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """One process. `ready_url` answers 200 once it works; None: it has a greeting of its own.

    Processes of a lower `stage` start first and are drained last.
    """

    name: str
    arguments: tuple[str, ...]
    stage: int
    ready_url: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where the generated routes lead; `key_variable` names an environment variable or is None."""

    base_url: str
    models: tuple[str, ...]
    key_variable: str | None
    simulated: bool


def choose_provider(
    options: UpOptions, *, openai_key: bool, openai_base_url: str | None
) -> Provider:
    """The simulator, unless the options or the shell name a provider.

    Raises:
        UpError: a base URL without a model.
    """
    base_url = options.base_url or openai_base_url
    named = "--base-url" if options.base_url else "OPENAI_BASE_URL"
    if options.simulator or not (openai_key or base_url):
        simulator = f"http://{HOST}:{port_of('simulator', options)}/v1"
        return Provider(simulator, options.models or (SIMULATOR_MODEL,), None, True)
    models = options.models
    if not models and base_url is not None:
        raise UpError(f"{named} needs --model NAME: which of its models are to be offered?")
    variable = "OPENAI_API_KEY" if openai_key else None
    return Provider(base_url or OPENAI_URL, models or (_OPENAI_MODEL,), variable, False)


def port_of(name: str, options: UpOptions) -> int:
    """The port of a name in PORTS."""
    return PORTS[name] + options.port_offset


def address_of(name: str, options: UpOptions) -> str:
    """host:port of a name in PORTS."""
    return f"{HOST}:{port_of(name, options)}"


def ports_needed(options: UpOptions, *, simulator: bool) -> dict[str, int]:
    """Every port that has to be free, by what it is for."""
    unused = set() if simulator else {"simulator"}
    if options.no_cache:
        unused |= _OF_THE_CACHE
    ports = {name: port_of(name, options) for name in PORTS if name not in unused}
    for index in range(1, options.workers):
        ports[f"worker {index + 1} health"] = _worker_port(options, index)
    return ports


def _worker_port(options: UpOptions, index: int) -> int:
    return (
        port_of("worker health", options)
        if index == 0
        else (_MORE_WORKERS + index + options.port_offset)
    )


def routes_text(provider: Provider) -> str:
    """A routes file for one provider."""
    name = _quoted("simulator" if provider.simulated else _name_of(provider.base_url))
    lines = [
        "# Written by `tidegate up`; give --routes FILE for one of your own.",
        "providers:",
        f"  {name}:",
        f"    base_url: {_quoted(provider.base_url)}",
    ]
    if provider.key_variable is not None:
        lines.append(f"    api_key_env: {provider.key_variable}")
    lines.append("models:")
    for model in provider.models:
        lines += [
            f"  {_quoted(model)}:",
            "    queue: default",
            f"    targets: [{{provider: {name}}}]",
        ]
    if provider.simulated:
        lines += [f"  {SIMULATOR_EMBEDDINGS}:", "    kind: embeddings"]
        lines.append(f"    targets: [{{provider: {name}}}]")
    return "\n".join(lines) + "\n"


def _name_of(base_url: str) -> str:
    """What a provider is called that nobody named: its host, as the routes file takes names."""
    if base_url == OPENAI_URL:
        return "openai"
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        host = ""
    return _NOT_IN_NAMES.sub("-", host).strip("-._")[:63] or "provider"


def _quoted(text: str) -> str:
    """A text in YAML that is that text, whatever it holds."""
    return json.dumps(text, ensure_ascii=False)


def plan_processes(options: UpOptions, nats_server: Path, *, simulator: bool) -> list[ProcessPlan]:
    """The processes, nats-server first."""
    plans = [
        ProcessPlan("nats", (str(nats_server), "-c", str(options.data / "nats.conf")), stage=0)
    ]
    if not options.no_cache:
        # Before the others, for its model makes it the slowest to start.
        plans.append(_cache(options))
    if simulator:
        plans.append(
            _service(
                "simulator",
                options,
                stage=1,
                health=address_of("simulator", options),
                settings={"TIDEGATE_SIMULATOR_LISTEN": address_of("simulator", options)},
            )
        )
    plans.append(_gateway(options))
    plans.append(_streaming(options))
    plans += [_worker(options, index) for index in range(options.workers)]
    return plans


def _gateway(options: UpOptions) -> ProcessPlan:
    return _service(
        "gateway",
        options,
        stage=4,
        health=address_of("gateway health", options),
        settings={
            "TIDEGATE_HTTP_LISTEN": address_of("gateway HTTP", options),
            "TIDEGATE_GRPC_LISTEN": address_of("gateway gRPC", options),
            "TIDEGATE_HEALTH_LISTEN": address_of("gateway health", options),
            "TIDEGATE_PUBLIC_GRPC": address_of("gateway gRPC", options),
            "TIDEGATE_PUBLIC_WEBSOCKET_URL": (
                f"ws://{address_of('streaming WebSocket', options)}/v1/ws"
            ),
            "TIDEGATE_PUBLIC_SSE_URL": f"http://{address_of('streaming SSE', options)}",
        },
    )


def _streaming(options: UpOptions) -> ProcessPlan:
    return _service(
        "streaming",
        options,
        stage=2,
        health=address_of("streaming health", options),
        settings={
            "TIDEGATE_WEBSOCKET_LISTEN": address_of("streaming WebSocket", options),
            "TIDEGATE_SSE_LISTEN": address_of("streaming SSE", options),
            "TIDEGATE_HEALTH_LISTEN": address_of("streaming health", options),
            "TIDEGATE_GATEWAY_TARGET": address_of("gateway gRPC", options),
        },
    )


def _worker(options: UpOptions, index: int) -> ProcessPlan:
    health = f"{HOST}:{_worker_port(options, index)}"
    plan = _service(
        "worker", options, stage=3, health=health, settings={"TIDEGATE_HEALTH_LISTEN": health}
    )
    if options.workers == 1:
        return plan
    return ProcessPlan(
        f"worker-{index + 1}", plan.arguments, plan.stage, plan.ready_url, plan.environment
    )


def _cache(options: UpOptions) -> ProcessPlan:
    return _service(
        "cache",
        options,
        # Drained after those who ask it.
        stage=1,
        health=address_of("cache health", options),
        settings={
            "TIDEGATE_CACHE_LISTEN": address_of("cache gRPC", options),
            "TIDEGATE_HEALTH_LISTEN": address_of("cache health", options),
            "TIDEGATE_CACHE_DIRECTORY": str(options.data / "cache"),
            "TIDEGATE_CACHE_KEY_FILE": str(cache_key_file(options.data)),
        },
        command=("cache", "serve"),
    )


def _of_the_cache(options: UpOptions) -> dict[str, str]:
    """What those are told who ask it; where there is none, also where the shell names one."""
    if options.no_cache:
        return {"TIDEGATE_CACHE_TARGET": ""}
    return {
        "TIDEGATE_CACHE_TARGET": address_of("cache gRPC", options),
        "TIDEGATE_CACHE_KEY_FILE": str(cache_key_file(options.data)),
    }


def _service(
    service: str,
    options: UpOptions,
    *,
    stage: int,
    health: str,
    settings: dict[str, str],
    command: tuple[str, ...] = (),
) -> ProcessPlan:
    environment = dict(settings)
    if service in USERS:
        environment |= {
            "TIDEGATE_NATS_URL": f"nats://{address_of('NATS', options)}",
            "TIDEGATE_NATS_USER": service,
            "TIDEGATE_NATS_PASSWORD_FILE": str(password_file(options.data, service)),
            "TIDEGATE_ROUTES_FILE": str(options.routes or options.data / "routes.yaml"),
            "TIDEGATE_KEYS_FILE": str(options.data / "keys.jsonl"),
            "TIDEGATE_DEVELOPMENT": "true",
        }
    if service in {"gateway", "streaming"}:
        environment["TIDEGATE_TOKEN_SECRET_FILE"] = str(token_secret_file(options.data))
    if service in {"gateway", "worker"}:
        environment |= _of_the_cache(options)
    return ProcessPlan(
        service,
        (sys.executable, "-m", "tidegate.cli", *(command or (service,))),
        stage,
        f"http://{health}/readyz",
        environment,
    )


def token_secret_file(data: Path) -> Path:
    """Where the secret that signs browsers' tokens is kept."""
    return data / "token-secret"


def cache_key_file(data: Path) -> Path:
    """Where the secret is kept that gateway, workers and cache know each other by."""
    return data / "cache-key"


def password_file(data: Path, user: str) -> Path:
    """Where a NATS user's password is kept."""
    return data / "nats-users" / user
