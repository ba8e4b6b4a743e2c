"""The routes file: which public model is answered where, through which queue.

::

    models:
      sim-1:                                  # the name that callers use
        queue: default                        # the queue its jobs wait in
        base_url: http://127.0.0.1:8090/v1    # an OpenAI-compatible API
        upstream_model: sim-small             # its name there; default: the public name
        provider: simulator                   # label of metrics and logs; default: the URL's host
        api_key_env: NAME                     # or api_key_file: path; neither: no key is sent
        timeouts: {connect: 5, first_token: 60, between_tokens: 30, total: 600}   # seconds

The file names keys and holds none, so that a process which only looks routes up needs no secret.
"""

import os
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import yaml
from typing_extensions import override

from tidegate.chassis.settings import SettingsError
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.subjects import check_name

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=24 * 3600)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class RoutesError(SettingsError):
    """A routes file that cannot be used. The text names the file, the dotted place, the cure."""

    def __init__(self, path: Path, place: str, problem: str) -> None:
        super().__init__(f"{path}: {place + ': ' if place else ''}{problem}")


class Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds: to a connection, to the first token, from token to token, and for all of a call."""

    connect: _Seconds = 5.0
    first_token: _Seconds = 60.0
    between_tokens: _Seconds = 30.0
    total: _Seconds = 600.0


@dataclass(frozen=True, slots=True)
class Route:
    """Where one public model is answered. `origin` is the file that said so."""

    model: str
    queue: str
    base_url: str
    upstream_model: str
    provider: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    api_key_env: str | None = None
    api_key_file: Path | None = None
    origin: Path = field(default=Path("routes"), compare=False)

    def read_api_key(self, environ: Mapping[str, str] | None = None) -> str | None:
        """The key as it is now; None where the route has none. `environ` None: the process's.

        Raises:
            RoutesError: the variable is not set, or the file cannot be read or is empty.
        """
        if self.api_key_env is not None:
            known = os.environ if environ is None else environ  # noqa: TID251
            key = known.get(self.api_key_env, "").strip()
            return key or self._refuse("api_key_env", f"{self.api_key_env} is not set; export it")
        if self.api_key_file is None:
            return None
        try:
            key = self.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            return self._refuse("api_key_file", f"cannot be read ({type(error).__name__})")
        return key or self._refuse("api_key_file", "the file is empty; write the key into it")

    def _refuse(self, place: str, problem: str) -> str:
        raise RoutesError(self.origin, f"models.{self.model}.{place}", problem) from None


class Routes(Mapping[str, Route]):
    """Routes by public model, in the order of the file."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = dict(routes)

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that a route names, once, sorted."""
        return tuple(sorted({route.queue for route in self._routes.values()}))

    @override
    def __getitem__(self, model: str) -> Route:
        return self._routes[model]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._routes)

    @override
    def __len__(self) -> int:
        return len(self._routes)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    queue: _Text
    base_url: _Text
    upstream_model: _Text | None = None
    provider: _Text | None = None
    api_key_env: _Text | None = None
    api_key_file: _Text | None = None
    timeouts: Timeouts = Timeouts()


def load_routes(path: Path | str) -> Routes:
    """The routes of a file. A relative `api_key_file` is relative to the file's folder.

    Raises:
        RoutesError: the file cannot be read or used.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise RoutesError(path, "", f"cannot be read: {why}") from error
    return parse_routes(text, path)


def parse_routes(text: str, path: Path) -> Routes:
    """The routes that a file's text holds; `path` is for error texts and relative paths.

    Raises:
        RoutesError: the text is not a routes file.
    """
    document = _read_yaml(text, path)
    if not isinstance(document, dict) or set(document) != {"models"}:
        raise RoutesError(path, "", "must hold `models:` and nothing else beside it")
    models = document["models"]
    if not isinstance(models, dict) or not models:
        raise RoutesError(path, "models", "must name at least one model, each with its fields")
    return Routes({_name(name, path): _route(name, models[name], path) for name in models})


def _name(name: object, path: Path) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= 256:
        raise RoutesError(path, f"models.{name}", "a model's name is text; put it into quotes")
    return name


def _route(name: str, given: object, path: Path) -> Route:
    place = f"models.{name}"
    entry = _entry(given, place, path)
    host = _host(entry.base_url, place, path)
    try:
        check_name(entry.queue, "queue")
    except InvalidRequest as error:
        raise RoutesError(path, f"{place}.queue", error.message) from error
    if entry.api_key_env and entry.api_key_file:
        raise RoutesError(path, place, "give api_key_env or api_key_file, not both")
    return Route(
        model=name,
        queue=entry.queue,
        base_url=entry.base_url.rstrip("/"),
        upstream_model=entry.upstream_model or name,
        provider=entry.provider or host,
        timeouts=entry.timeouts,
        api_key_env=entry.api_key_env,
        api_key_file=path.parent / entry.api_key_file if entry.api_key_file else None,
        origin=path,
    )


def _entry(given: object, place: str, path: Path) -> _Entry:
    try:
        return msgspec.convert(given, _Entry)
    except msgspec.ValidationError as error:
        what, _, inner = str(error).partition(" - at `$")
        raise RoutesError(path, f"{place}{inner.rstrip('`')}", what) from error


def _host(base_url: str, place: str, path: Path) -> str:
    place = f"{place}.base_url"
    try:
        url = urlsplit(base_url)
        host = url.hostname
    except ValueError:
        raise RoutesError(path, place, "is not a URL") from None
    if not host or url.scheme not in ("http", "https") or url.query or url.fragment:
        raise RoutesError(path, place, "must be the API's base, as in https://api.example.com/v1")
    if url.username is not None:
        raise RoutesError(path, place, "holds a secret; use api_key_env instead")
    return host


class _Loader(yaml.SafeLoader):
    """Refuses a mapping that gives a key twice, of which plain YAML keeps the last in silence."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a name is given twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


def _read_yaml(text: str, path: Path) -> object:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader: see above)
    except yaml.YAMLError as error:
        # Without the snippet that the library would show: it may quote a key put there by mistake.
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise RoutesError(path, line, problem) from None
