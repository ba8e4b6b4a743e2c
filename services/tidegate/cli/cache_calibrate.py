"""`tidegate cache calibrate`: what a threshold serves, and what it means to an embedder."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec

from tidegate.cache.calibration import BUILT_IN, Calibration, CalibrationError, points_of
from tidegate.cache.calibration_file import write_calibration
from tidegate.cache.embedders.answers import read_vectors
from tidegate.cache.embedders.local import LocalEmbedder
from tidegate.cache.embedders.models import minilm, minilm_reference, model_in
from tidegate.cache.embedders.remote import fingerprint_of
from tidegate.cache.embedding import EmbedderError
from tidegate.cache.entries import Vector
from tidegate.cache.measuring import (
    LabelledPair,
    PairsError,
    Rates,
    Scored,
    parse_pairs,
    rates,
    score,
    table,
)
from tidegate.cache.policy import policy_of
from tidegate.cache.settings import CacheDecisionSettings, CacheEmbedderSettings
from tidegate.chassis.component import Deadline
from tidegate.chassis.settings import SettingsError, load_settings
from tidegate.chassis.tasks import ServiceFault, TaskGuard
from tidegate.providers.clients import Clients
from tidegate.providers.errors import ProviderError
from tidegate.providers.routes import RoutesError
from tidegate.providers.routes_parse import load_routes

_AT_ONCE: Final = 64
_LABEL: Final = 2.5
"""Per cent that two labels of the drawing are apart at least."""

Embed = Callable[[Sequence[str]], Awaitable[list[Vector]]]


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """The command's options."""

    pairs: Path
    embedder: str | None
    routes: Path
    write: Path | None
    plot: Path | None


class _RefusedError(Exception):
    """What the command cannot do; one line for a person."""


def run_calibrate(options: CalibrateOptions) -> int:
    """Embeds the pairs, prints R and F by threshold, and writes what was asked for; the status."""
    try:
        return asyncio.run(_calibrate(options))
    except (
        *(_RefusedError, PairsError, CalibrationError, SettingsError, RoutesError),
        *(ServiceFault, EmbedderError, ProviderError),
    ) as error:
        click.echo(f"error: {error}", err=True)
        return 1


async def _calibrate(options: CalibrateOptions) -> int:
    pairs = _read(options.pairs)
    name = options.embedder or load_settings(CacheEmbedderSettings).cache_embedder
    click.echo(f"embedding {len(pairs)} pairs by {name}", err=True)
    fingerprint, scored = await _scored(pairs, name, options)
    calibration = BUILT_IN.get(fingerprint)
    if calibration is None:
        click.echo("embedding them by the reference, to find equal strictness", err=True)
        reference = (await _scored_locally(pairs, LocalEmbedder(minilm_reference)))[1]
        calibration = Calibration(
            fingerprint=fingerprint,
            points=points_of(_cosines(reference), _cosines(scored)),
            made_from=f"the pairs of {options.pairs.name}",
            pairs=len(pairs),
        )
    if options.write is not None:
        write_calibration(options.write, calibration)
        click.echo(f"wrote {options.write} (TIDEGATE_CACHE_CALIBRATION_FILE)", err=True)
    policy = policy_of(load_settings(CacheDecisionSettings))
    curves = {
        "by the cosine alone": rates(scored, policy, calibration.of, guarded=False),
        "with the guard": rates(scored, policy, calibration.of),
    }
    click.echo(f"embedder {fingerprint}; thresholds on the scale of the setting")
    for title, found in curves.items():
        click.echo(f"\n{title}")
        for line in table(found):
            click.echo(line)
    if options.plot is not None:
        _plot(curves, options.plot)
    return 0


def _read(path: Path) -> list[LabelledPair]:
    try:
        with path.open(encoding="utf-8") as file:
            pairs = list(parse_pairs(file))
    except (OSError, UnicodeDecodeError) as error:
        raise _RefusedError(f"{path} cannot be read: {error}") from error
    if not any(pair.same for pair in pairs) or all(pair.same for pair in pairs):
        raise _RefusedError(f"{path} needs pairs of both kinds, `same` and `different`")
    return pairs


async def _scored(
    pairs: Sequence[LabelledPair], name: str, options: CalibrateOptions
) -> tuple[str, list[Scored]]:
    kind, _, value = name.partition(":")
    if kind == "minilm":
        return await _scored_locally(pairs, LocalEmbedder(minilm))
    if kind == "path" and value:
        return await _scored_locally(pairs, LocalEmbedder(partial(model_in, Path(value))))
    if kind == "route" and value:
        return await _scored_by_route(pairs, value, options.routes)
    raise _RefusedError("the embedder must be minilm, path:DIR or route:MODEL")


async def _scored_locally(
    pairs: Sequence[LabelledPair], embedder: LocalEmbedder
) -> tuple[str, list[Scored]]:
    await embedder.start()
    try:
        return embedder.fingerprint, await _scores(pairs, embedder.embed)
    finally:
        await embedder.stop(Deadline(1))


async def _scored_by_route(
    pairs: Sequence[LabelledPair], model: str, file: Path
) -> tuple[str, list[Scored]]:
    """Calls the route's first target, as the cache does; its breaker is the platform's."""
    route = load_routes(file).get(model)
    if route is None or route.kind != "embeddings":
        raise _RefusedError(f"{file} has no embeddings model {model}")
    target, guard = route.targets[0], TaskGuard()
    clients = Clients(guard, concurrency=1)

    async def embed(texts: Sequence[str]) -> list[Vector]:
        body = {"model": target.model, "input": list(texts), "encoding_format": "float"}
        answer = await clients.embeddings(target).create(
            target, msgspec.json.encode(body), headers={"x-tidegate-job": "cache-calibrate"}
        )
        return read_vectors(answer.data, len(texts), None)

    try:
        scored = await _scores(pairs, embed)
        dimension = len((await embed([pairs[0].one]))[0])
    finally:
        await clients.stop(Deadline(5))
        await guard.cancel_all()
    return fingerprint_of(target.key, dimension), scored


async def _scores(pairs: Sequence[LabelledPair], embed: Embed) -> list[Scored]:
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.one, pair.other)))
    vectors: dict[str, Vector] = {}
    for start in range(0, len(texts), _AT_ONCE):
        batch = texts[start : start + _AT_ONCE]
        vectors |= dict(zip(batch, await embed(batch), strict=True))
        click.echo(f"\r{len(vectors)} of {len(texts)}", nl=False, err=True)
    click.echo("", err=True)
    return score(pairs, vectors)


def _cosines(scored: Sequence[Scored]) -> list[float]:
    return [each.cosine for each in scored]


def _plot(curves: dict[str, list[Rates]], path: Path) -> None:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise _RefusedError(
            "drawing needs matplotlib; install it with: pip install 'tidegate[plot]'"
        ) from error
    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for title, found in curves.items():
        across = [100 * each.look_alikes.value for each in found]
        up = [100 * each.repeats.value for each in found]
        axes.plot(across, up, marker="o", label=title)
        for each, x, y in _apart(list(zip(found, across, up, strict=True))):
            axes.annotate(f"{each.threshold:.2f}", (x, y), (6, -4), textcoords="offset points")
    axes.margins(x=0.1)
    axes.set_xlabel("F: look-alikes wrongly served, %")
    axes.set_ylabel("R: repeats served, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    click.echo(f"drew {path}", err=True)


def _apart(points: list[tuple[Rates, float, float]]) -> list[tuple[Rates, float, float]]:
    """Those points whose labels do not lie on one another."""
    kept = points[:1]
    for point in points[1:]:
        _, x, y = kept[-1]
        if abs(point[1] - x) > _LABEL or abs(point[2] - y) > _LABEL:
            kept.append(point)
    return kept
