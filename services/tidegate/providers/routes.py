"""Routes: which public model is answered where, in which order, and through which queue.

Values only; `routes_parse` makes them from a file, `routes_file` keeps them as the file is now.
"""

import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from typing_extensions import override

from tidegate.chassis.settings import SettingsError
from tidegate.providers.price import Price

RouteKind = Literal["chat", "embeddings"]

_LIKE_A_VARIABLE: Final = re.compile(r"(?=.{1,64}\Z)[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")

Seconds = Annotated[float, msgspec.Meta(gt=0, le=24 * 3600)]


class RoutesError(SettingsError):
    """Routes that cannot be used. The text names the file, the line, the dotted place, the cure."""

    def __init__(self, path: Path, place: str, problem: str, line: int | None = None) -> None:
        where = str(path) if line is None else f"{path}, line {line}"
        super().__init__(f"{where}: {place + ': ' if place else ''}{problem}")


class Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds: to a connection, to the first token, from token to token, and for all of a call."""

    connect: Seconds = 5.0
    first_token: Seconds = 60.0
    between_tokens: Seconds = 30.0
    total: Seconds = 600.0


@dataclass(frozen=True, slots=True)
class Target:
    """One place where a model is answered: a provider, and the model's name there.

    `weight` is its share of the first calls, None where its turn is fixed by the order. `origin`,
    `line` and `place` are where the file names its key.
    """

    provider: str
    base_url: str
    model: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    weight: float | None = None
    price: Price | None = None
    api_key_env: str | None = None
    api_key_file: Path | None = None
    origin: Path = field(default=Path("routes"), compare=False)
    line: int | None = field(default=None, compare=False)
    place: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it among all others: (provider, upstream model)."""
        return self.provider, self.model

    def read_api_key(self, environ: Mapping[str, str] | None = None) -> str | None:
        """The key as it is now; None where the provider has none. `environ` None: the process's.

        Raises:
            RoutesError: the variable is not set, or the file cannot be read or is empty, or what
                they hold cannot be sent in a header.
        """
        if self.api_key_env is not None:
            known = os.environ if environ is None else environ  # noqa: TID251
            key = known.get(self.api_key_env, "").strip()
            # Somebody may have put the key itself there.
            named = _LIKE_A_VARIABLE.fullmatch(self.api_key_env)
            shown = self.api_key_env if named else "the variable"
            return self._usable(key, "api_key_env", f"{shown} is not set; export it")
        if self.api_key_file is None:
            return None
        try:
            key = self.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not text"
            problem = f"{self.api_key_file} cannot be read ({why}); put the key there"
            raise self._refusal("api_key_file", problem) from error
        return self._usable(key, "api_key_file", "the file is empty; write the key into it")

    def _usable(self, key: str, place: str, empty: str) -> str:
        if not key:
            raise self._refusal(place, empty)
        if not (key.isascii() and key.isprintable()):
            raise self._refusal(place, "holds no key: one is a single line of plain characters")
        return key

    def _refusal(self, place: str, problem: str) -> RoutesError:
        return RoutesError(self.origin, f"{self.place}.{place}", problem, self.line)


@dataclass(frozen=True, slots=True)
class Route:
    """What one public model is. `queue` is empty for embeddings, which are called directly.

    `fallbacks` are public models whose targets follow; `extra_body` are the names of the parameters
    beyond the standard ones that its requests may carry.
    """

    model: str
    kind: RouteKind
    queue: str
    targets: tuple[Target, ...]
    fallbacks: tuple[str, ...] = ()
    extra_body: frozenset[str] = frozenset()


class Routes(Mapping[str, Route]):
    """Routes by public model, in the order of the file. Their fallbacks are known and end."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = dict(routes)
        self._queues = tuple(sorted({route.queue for route in routes.values() if route.queue}))

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that a route names, once, sorted."""
        return self._queues

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every target of every route, each (provider, upstream model) once."""
        return _once(target for route in self._routes.values() for target in route.targets)

    def plan(self, model: str, rng: random.Random | None = None) -> tuple[Target, ...]:
        """Where to call for a model, in order, each (provider, upstream model) once.

        Its own targets first, then those of each fallback and of what that falls back to. Targets
        with a weight come in a random order by weight, those without follow in the file's order.
        `rng` None: the process's own. Raises KeyError for a model without a route.
        """
        order: list[Target] = []
        for name in self._chain(model):
            targets = self._routes[name].targets
            order += _by_weight(targets, rng)
            order += (target for target in targets if target.weight is None)
        return _once(order)

    def require_keys(self, models: Iterable[str], environ: Mapping[str, str] | None = None) -> None:
        """Reads the key of every target that these models may be answered by.

        Raises:
            RoutesError: one cannot be read.
        """
        for target in _once(target for model in models for target in self.plan(model)):
            target.read_api_key(environ)

    def _chain(self, model: str) -> dict[str, None]:
        """The model and all that it falls back to, in order, each once."""
        names: dict[str, None] = {}
        waiting = [model]
        while waiting:
            name = waiting.pop()
            if name not in names:
                names[name] = None
                waiting += reversed(self._routes[name].fallbacks)
        return names

    @override
    def __getitem__(self, model: str) -> Route:
        return self._routes[model]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._routes)

    @override
    def __len__(self) -> int:
        return len(self._routes)


def _by_weight(targets: Iterable[Target], rng: random.Random | None) -> list[Target]:
    """Those with a weight, in a random order: each is next with its share of what is left."""
    draw = random.expovariate if rng is None else rng.expovariate
    # The first of several exponential clocks is each one's with the share of its rate (Efraimidis
    # and Spirakis, 2006).
    drawn = [(draw(target.weight), target) for target in targets if target.weight is not None]
    return [target for _, target in sorted(drawn, key=lambda pair: pair[0])]


def _once(targets: Iterable[Target]) -> tuple[Target, ...]:
    kept: dict[tuple[str, str], Target] = {}
    for target in targets:
        kept.setdefault(target.key, target)
    return tuple(kept.values())
