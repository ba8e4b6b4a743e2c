"""The routes file: its form, and everything that can be wrong with one.

::

    providers:
      openai:                                   # label of metrics and logs
        base_url: https://api.openai.com/v1     # an OpenAI-compatible API
        api_key_env: OPENAI_API_KEY             # or api_key_file: path; neither: no key is sent
        timeouts: {connect: 5, first_token: 60, between_tokens: 30, total: 600}   # seconds
    models:
      small:                                    # the name that callers use
        queue: default                          # the queue its jobs wait in
        targets:                                # in order
          - {provider: openai, model: gpt-4o-mini, price: {input: 0.15, output: 0.6}}

The file names keys and holds none, so that a process which only looks routes up needs no secret. No
error text quotes a value that could be one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from tidegate.contracts.chat import FIELDS as CHAT_FIELDS
from tidegate.contracts.errors import InvalidRequest
from tidegate.contracts.subjects import check_name
from tidegate.providers.price import Price
from tidegate.providers.routes import (
    Route,
    RouteKind,
    Routes,
    RoutesError,
    Seconds,
    Target,
    Timeouts,
)
from tidegate.providers.routes_yaml import LARGEST_BYTES, Document, YamlError, read_yaml

T = TypeVar("T", bound=msgspec.Struct)

_Text = Annotated[str, Meta(min_length=1, max_length=1024)]
_Weight = Annotated[float, Meta(gt=0, le=1_000_000)]
_Field = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z")]

_HIGHEST_PRICE: Final = 1_000_000
_PROVIDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_UNKNOWN_FIELD: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_NOT_TEXT: Final = re.compile(r"Expected `str( \| null)?`, got `(int|float|bool)`")
# What a person would write for a field; anything else is not shown, for it may be a key.
_SHOWABLE_FIELD: Final = re.compile(r"[a-z_]{1,40}")

_STANDARD_FIELDS: Final[dict[RouteKind, frozenset[str]]] = {
    # The rest is read by the gateway, or is what an answer of ours cannot hold.
    "chat": CHAT_FIELDS | {"stream_options", "service_tier", "store", "functions", "function_call"},
    "embeddings": frozenset({"model", "input", "encoding_format", "dimensions", "user"}),
}


class _Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    connect: Seconds | None = None
    first_token: Seconds | None = None
    between_tokens: Seconds | None = None
    total: Seconds | None = None


class _Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    base_url: _Text
    api_key_env: _Text | None = None
    api_key_file: _Text | None = None
    timeouts: _Timeouts = _Timeouts()


class _Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: _Text
    model: _Text | None = None
    weight: _Weight | None = None
    timeouts: _Timeouts = _Timeouts()
    price: Price | None = None


class _Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    targets: Annotated[list[_Target], Meta(min_length=1, max_length=64)]
    kind: _Text = "chat"
    queue: _Text | None = None
    fallbacks: Annotated[list[_Text], Meta(max_length=64)] = []
    extra_body: Annotated[list[_Field], Meta(max_length=256)] = []


def load_routes(path: Path | str) -> Routes:
    """The routes of a file. A relative `api_key_file` is relative to the file's folder.

    Raises:
        RoutesError: the file cannot be read or used.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise RoutesError(path, "", f"cannot be read: {why}") from error
    return parse_routes(content, path)


def parse_routes(content: bytes | str, path: Path) -> Routes:
    """The routes that a file's content holds; `path` is for error texts and relative paths.

    Raises:
        RoutesError: it is not a routes file.
    """
    if len(content) > LARGEST_BYTES:
        raise RoutesError(path, "", f"is larger than {LARGEST_BYTES >> 10} KiB")
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RoutesError(path, "", "is not UTF-8; save it as such") from error
    try:
        document = read_yaml(text)
    except YamlError as error:
        raise RoutesError(path, error.place, error.problem, error.line) from None
    return _Reading(path, document).routes()


@dataclass(frozen=True, slots=True)
class _Reading:
    path: Path
    document: Document

    def routes(self) -> Routes:
        top = self._table(self.document.value, "")
        for name in top:
            if name not in ("providers", "models"):
                problem = "beside `providers:` and `models:` there is nothing; take it out"
                raise RoutesError(self.path, "", problem, self.document.line_of(name))
        providers = self._table(top.get("providers"), "providers")
        models = self._table(top.get("models"), "models")
        known = {name: self._provider(name, given) for name, given in providers.items()}
        found = {name: self._route(name, given, known) for name, given in models.items()}
        self._check_fallbacks(found)
        return Routes(found)

    def _refusal(self, place: str, problem: str) -> RoutesError:
        return RoutesError(self.path, place, problem, self.document.line_of(place))

    # The entries.

    def _provider(self, name: str, given: object) -> _Provider:
        place = f"providers.{name}"
        if not _PROVIDER.fullmatch(name):
            hint = "a provider's name is 1 to 63 of A-Z, a-z, 0-9, '.', '-' and '_'"
            raise self._refusal(place, hint)
        entry = self._entry(given, _Provider, place)
        self._check_url(entry.base_url, f"{place}.base_url")
        if entry.api_key_env and entry.api_key_file:
            raise self._refusal(f"{place}.api_key_file", "give this or api_key_env, not both")
        if entry.api_key_env and not _VARIABLE.fullmatch(entry.api_key_env):
            problem = "names an environment variable; the key itself never stands in this file"
            raise self._refusal(f"{place}.api_key_env", problem)
        return entry

    def _route(self, name: str, given: object, providers: Mapping[str, _Provider]) -> Route:
        place = f"models.{name}"
        if len(name) > 256:
            raise self._refusal("models", "a model's name has at most 256 characters")
        entry = self._entry(given, _Model, place)
        kind = self._kind(entry, place)
        targets = [
            self._target(each, f"{place}.targets[{index}]", name, kind, providers)
            for index, each in enumerate(entry.targets)
        ]
        seen: set[tuple[str, str]] = set()
        for index, target in enumerate(targets):
            if target.key in seen:
                problem = "the same provider and model stand above; take one of them out"
                raise self._refusal(f"{place}.targets[{index}]", problem)
            seen.add(target.key)
        self._check_extra(entry, kind, place)
        return Route(
            model=name,
            kind=kind,
            queue=entry.queue or "",
            targets=tuple(targets),
            fallbacks=tuple(entry.fallbacks),
            extra_body=frozenset(entry.extra_body),
        )

    def _kind(self, entry: _Model, place: str) -> RouteKind:
        if entry.kind == "embeddings":
            if entry.queue is not None:
                problem = "embeddings are called directly and wait in no queue; take it out"
                raise self._refusal(f"{place}.queue", problem)
            return "embeddings"
        if entry.kind != "chat":
            raise self._refusal(f"{place}.kind", "must be `chat` (the default) or `embeddings`")
        if entry.queue is None:
            problem = "a chat model needs the queue its jobs wait in; add `queue: default`"
            raise self._refusal(place, problem)
        try:
            check_name(entry.queue, "a queue's name")
        except InvalidRequest as error:
            raise self._refusal(f"{place}.queue", error.message) from error
        return "chat"

    def _target(
        self,
        entry: _Target,
        place: str,
        model: str,
        kind: RouteKind,
        providers: Mapping[str, _Provider],
    ) -> Target:
        provider = providers.get(entry.provider)
        if provider is None:
            known = ", ".join(providers) or "none yet"
            problem = f"is not defined under `providers:`; defined there: {known}"
            raise self._refusal(f"{place}.provider", problem)
        if entry.price is not None:
            self._check_price(entry.price, f"{place}.price", kind)
        where = f"providers.{entry.provider}"
        named = "api_key_env" if provider.api_key_env else "api_key_file"
        file = provider.api_key_file
        return Target(
            provider=entry.provider,
            base_url=provider.base_url.rstrip("/"),
            model=entry.model or model,
            timeouts=_timeouts(provider.timeouts, entry.timeouts),
            weight=entry.weight,
            price=entry.price,
            api_key_env=provider.api_key_env,
            api_key_file=self.path.parent / file if file else None,
            origin=self.path,
            line=self.document.line_of(f"{where}.{named}"),
            place=where,
        )

    # What a single entry cannot know to be wrong.

    def _check_url(self, base_url: str, place: str) -> None:
        problem = "must be the API's base, as in https://api.example.com/v1"
        try:
            url = urlsplit(base_url)
            port, host, scheme = url.port, url.hostname, url.scheme
        except ValueError:
            raise self._refusal(place, problem) from None
        if url.username is not None or url.password is not None:
            raise self._refusal(place, "holds a secret; name it by api_key_env or api_key_file")
        plain = base_url.isascii() and base_url.isprintable() and " " not in base_url
        if not (host and plain) or scheme not in ("http", "https") or port == 0:
            raise self._refusal(place, problem)
        if "?" in base_url or "#" in base_url:
            raise self._refusal(place, f"{problem}, without `?` or `#`")

    def _check_price(self, price: Price, place: str, kind: RouteKind) -> None:
        for name, value in msgspec.structs.asdict(price).items():
            if value is not None and not (value.is_finite() and 0 <= value <= _HIGHEST_PRICE):
                problem = f"US dollars for a million tokens: from 0 to {_HIGHEST_PRICE:,}"
                raise self._refusal(f"{place}.{name}", problem)
        if kind == "chat" and price.output is None:
            raise self._refusal(place, "a chat model's price needs `output` too")

    def _check_extra(self, entry: _Model, kind: RouteKind, place: str) -> None:
        for index, name in enumerate(entry.extra_body):
            if name in _STANDARD_FIELDS[kind]:
                problem = f"`{name}` is a standard parameter, which needs no leave; take it out"
                raise self._refusal(f"{place}.extra_body[{index}]", problem)

    def _check_fallbacks(self, routes: Mapping[str, Route]) -> None:
        for name, route in routes.items():
            for index, fallback in enumerate(route.fallbacks):
                place = f"models.{name}.fallbacks[{index}]"
                other = routes.get(fallback)
                if other is None:
                    raise self._refusal(place, f"is no model of this file; {_offered(routes)}")
                if other.kind != route.kind:
                    problem = f"{fallback} answers {other.kind} and {name} {route.kind}"
                    raise self._refusal(place, f"{problem}; name one of the same kind")
                if fallback in route.fallbacks[:index]:
                    raise self._refusal(place, f"{fallback} stands there twice; take one out")
        loop = _loop(routes)
        if loop:
            name, following = loop[0], loop[1]
            place = f"models.{name}.fallbacks[{routes[name].fallbacks.index(following)}]"
            shown = " -> ".join(loop)
            raise self._refusal(place, f"the fallbacks go round: {shown}; take one of them out")

    # The form.

    def _table(self, given: object, place: str) -> dict[str, object]:
        if not isinstance(given, dict) or not given:
            what = f"`{place}:`" if place else "the file"
            problem = f"{what} must hold at least one name with its fields (docs/routing.md)"
            raise self._refusal(place, problem)
        for name in given:
            if not isinstance(name, str) or not name or not name.isprintable():
                problem = "a name is plain text; put a number into quotes"
                line = self.document.line_of(f"{place}.{name}")
                raise RoutesError(self.path, place, problem, line)
        return given

    def _entry(self, given: object, kind: type[T], place: str) -> T:
        try:
            return msgspec.convert(given, kind)
        except msgspec.ValidationError as error:
            what, _, inner = str(error).partition(" - at `$")
            place += inner.rstrip("`")
            found = _UNKNOWN_FIELD.fullmatch(what)
            if found is None:
                quotes = "; put it into quotes" if _NOT_TEXT.fullmatch(what) else ""
                raise self._refusal(place, f"{what}{quotes}") from None
            raise self._unknown_field(place, found[1], kind) from None

    def _unknown_field(self, place: str, name: str, kind: type[msgspec.Struct]) -> RoutesError:
        shown = f" `{name}`" if _SHOWABLE_FIELD.fullmatch(name) else ""
        part = _PARTS.get(re.sub(r".*\.|\[\d+\]", "", place), kind)
        known = ", ".join(part.__struct_fields__)
        line = self.document.line_of(f"{place}.{name}")
        return RoutesError(self.path, place, f"unknown field{shown}; there are: {known}", line)


_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_PARTS: Final[dict[str, type[msgspec.Struct]]] = {
    "targets": _Target,
    "timeouts": _Timeouts,
    "price": Price,
}


def _timeouts(*given: _Timeouts) -> Timeouts:
    """The last that says something about each."""
    said: dict[str, Any] = {}
    for each in given:
        said |= {name: value for name, value in msgspec.structs.asdict(each).items() if value}
    return Timeouts(**said)


def _offered(routes: Mapping[str, Route]) -> str:
    names = list(routes)
    return "there are: " + ", ".join(names[:10]) + (" and more" if len(names) > 10 else "")


def _loop(routes: Mapping[str, Route]) -> list[str]:
    """A loop of fallbacks, from a model back to itself; empty where there is none."""
    ended: set[str] = set()
    for start in routes:
        path: dict[str, int] = {}
        # Without recursion: a chain may be as long as the file.
        waiting = [(start, iter(routes[start].fallbacks))]
        path[start] = 0
        while waiting:
            name, rest = waiting[-1]
            following = next((each for each in rest if each not in ended), None)
            if following is None:
                ended.add(name)
                del path[name]
                waiting.pop()
            elif following in path:
                return [*list(path)[path[following] :], following]
            else:
                path[following] = len(path)
                waiting.append((following, iter(routes[following].fallbacks)))
    return []
