"""`tidegate dlq list|show|replay|purge`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec

from tidegate.cli.client import Platform, PlatformError, run_client

_PAGE: Final = 200
_PATH: Final = "/v1/dead-letters"


def run_list(limit: int) -> int:
    """Prints a line for each dead letter."""

    async def listing(platform: Platform) -> int:
        click.echo(
            f"{'JOB':32} {'FAILED':25} {'REASON':24} {'TRIES':5} {'CLASS':12} {'QUEUE':16} MODEL"
        )
        shown = 0
        async for letter in _letters(platform, limit + 1):
            if shown == limit:
                click.echo(f"the oldest {limit}; there are more: --limit", err=True)
                break
            shown += 1
            click.echo(row(letter))
        return 0

    return run_client(listing)


def run_show(job_id: str, *, with_request: bool) -> int:
    """Prints a dead letter as JSON."""

    async def show(platform: Platform) -> int:
        params = {"request": "true"} if with_request else {}
        letter = await platform.call("GET", f"{_PATH}/{job_id}", params=params)
        click.echo(msgspec.json.format(msgspec.json.encode(letter)).decode())
        return 0

    return run_client(show)


def run_replay(job_ids: Sequence[str], *, every: bool) -> int:
    """Makes a new job of each letter and prints both ids; 1 where one could not be replayed."""

    async def replay(platform: Platform) -> int:
        # All of them first: a replay that fails leaves a new letter, and would be met again.
        chosen = [each["job_id"] async for each in _letters(platform)] if every else job_ids

        async def one(job_id: str) -> None:
            job = await platform.call("POST", f"{_PATH}/{job_id}/replay")
            click.echo(f"{job_id} {job['id']}")

        return await _each(chosen, one)

    return run_client(replay)


def run_purge(job_ids: Sequence[str]) -> int:
    """Removes the letters of these jobs, or all; 1 where one could not be removed."""

    async def purge(platform: Platform) -> int:
        async def one(job_id: str) -> None:
            await platform.call("DELETE", f"{_PATH}/{job_id}")
            click.echo(f"job={job_id} removed", err=True)

        if job_ids:
            return await _each(job_ids, one)
        answer = await platform.call("DELETE", _PATH)
        click.echo(f"removed: {answer['purged']}", err=True)
        return 0

    return run_client(purge)


def row(letter: dict[str, Any]) -> str:
    """A dead letter as a line of the list."""
    failed = datetime.fromtimestamp(letter["failed_at"], UTC).isoformat(timespec="seconds")
    return (
        f"{letter['job_id']:32} {failed:25} {letter['reason']:24} {letter['attempts']:<5} "
        f"{letter['class']:12} {letter['queue']:16} {letter['model']}"
    )


async def _each(job_ids: Sequence[str], one: Callable[[str], Awaitable[None]]) -> int:
    """Does it with each; one that is refused keeps no other from its turn."""
    status = 0
    for job_id in job_ids:
        try:
            await one(job_id)
        except PlatformError as error:
            click.echo(f"error: {job_id}: {error}", err=True)
            status = 1
    return status


async def _letters(platform: Platform, limit: int | None = None) -> AsyncIterator[dict[str, Any]]:
    """The tenant's, oldest first; `limit` bounds what is asked for at once, not what comes."""
    params = {"page_size": str(min(limit or _PAGE, _PAGE)), "page_token": ""}
    while True:
        page = await platform.call("GET", _PATH, params=params)
        for letter in page["dead_letters"]:
            yield letter
        if not page["next_page_token"]:
            return
        params["page_token"] = page["next_page_token"]
