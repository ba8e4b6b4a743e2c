"""`tidegate routes check`: whether the routes file is good, and whether its targets answer."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click
import msgspec

from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.events import Usage
from tidegate.providers.clients import Clients
from tidegate.providers.errors import ErrorKind, ProviderError
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import RouteKind, Routes, RoutesError, Target
from tidegate.providers.routes_parse import load_routes

# So that a slow target keeps nobody waiting but itself.
_AT_ONCE: Final = 8
_HEADERS: Final = {"x-tidegate-job": "routes-check"}
_QUESTION: Final = [{"role": "user", "content": "Answer with one word: ready?"}]
# Most servers know the first, some models want the second and refuse the first.
_SHORT: Final = ("max_tokens", "max_completion_tokens")
_COLUMNS: Final = ("MODEL", "PROVIDER", "UPSTREAM MODEL", "PRICE", "LATENCY", "RESULT")


class _Found(NamedTuple):
    """What came of a call: seconds until its end, and words for a person."""

    answered: bool
    seconds: float
    words: str


def run_check(path: Path, *, offline: bool) -> int:
    """Checks a routes file and, unless offline, calls each target once; prints what came of it.

    Status 0 only if the file is good and every target answered.
    """
    try:
        routes = load_routes(path)
    except RoutesError as error:
        click.echo(f"error: {error}", err=True)
        return 1
    good = f"{path}: {_count(len(routes), 'model')}, {_count(len(routes.targets), 'target')}"
    if offline:
        click.echo(f"{good}; the form is good, nobody was called", err=True)
        return 0
    found = asyncio.run(_call_all(routes))
    prices = PriceBook()
    rows = [
        (
            *(route.model, target.provider, target.model),
            prices.version_of(target) or "unknown",
            f"{found[route.kind, target].seconds:.2f} s",
            found[route.kind, target].words,
        )
        for route in routes.values()
        for target in route.targets
    ]
    _print_table(rows)
    answered = sum(each.answered for each in found.values())
    click.echo(f"{good}; {answered} of {_count(len(found), 'call')} answered", err=True)
    return 0 if answered == len(found) else 1


async def _call_all(routes: Routes) -> dict[tuple[RouteKind, Target], _Found]:
    """Each target of each kind is called once, whatever number of models it stands behind."""
    wanted = dict.fromkeys(
        (route.kind, target) for route in routes.values() for target in route.targets
    )
    guard = TaskGuard()
    clients, slots = Clients(guard, concurrency=_AT_ONCE), asyncio.Semaphore(_AT_ONCE)

    async def call(kind: RouteKind, target: Target) -> _Found:
        async with slots:
            return await _call(clients, kind, target)

    try:
        found = await asyncio.gather(*(call(kind, target) for kind, target in wanted))
    finally:
        await clients.stop(Deadline(5))
        await guard.cancel_all()
    return dict(zip(wanted, found, strict=True))


async def _call(clients: Clients, kind: RouteKind, target: Target) -> _Found:
    began = time.monotonic()
    try:
        # Said here with its place in the file, which an answer to a client must not show.
        target.read_api_key()
        usage = await (_chat(clients, target) if kind == "chat" else _embed(clients, target))
    except RoutesError as error:
        return _Found(False, time.monotonic() - began, str(error))
    except ProviderError as error:
        return _Found(False, time.monotonic() - began, f"{error.reason}: {error.message}")
    told = "ok" if usage is not None else "ok, but no usage is told: tokens will be estimated"
    return _Found(True, time.monotonic() - began, told)


def _chat(clients: Clients, target: Target) -> Awaitable[Usage | None]:
    async def ask(limit: str) -> Usage | None:
        body = msgspec.json.encode({"model": target.model, "messages": _QUESTION, limit: 1})
        client = clients.chat(target)
        return (await client.stream(target, body, lambda _: None, headers=_HEADERS)).usage

    async def ask_either_way() -> Usage | None:
        first, second = _SHORT
        try:
            return await ask(first)
        except ProviderError as error:
            if error.kind is not ErrorKind.CALLER:
                raise
        return await ask(second)

    return ask_either_way()


async def _embed(clients: Clients, target: Target) -> Usage | None:
    body = msgspec.json.encode({"model": target.model, "input": "ready"})
    return (await clients.embeddings(target).create(target, body, headers=_HEADERS)).usage


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in (_COLUMNS, *rows)) for column in range(5)]
    for row in (_COLUMNS, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[5]]))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
