"""`tidegate cache stats|explain|invalidate|feedback`."""

from dataclasses import dataclass
from typing import Any

import click
import msgspec

from tidegate.cli.ask import Question, chat_of
from tidegate.cli.cache_page import explanation_page, stats_page
from tidegate.cli.client import Platform, run_client
from tidegate.cli.stats_page import duration


@dataclass(frozen=True, slots=True)
class Chosen:
    """Entries that match all that is given; `older_than` is seconds."""

    entry_id: str | None
    job_id: str | None
    model: str | None
    older_than: float | None
    everything: bool

    def body(self) -> dict[str, Any]:
        """As the gateway takes it; empty where they are none."""
        given = {
            "entry_id": self.entry_id,
            "job_id": self.job_id,
            "model": self.model,
            "older_than_s": self.older_than,
            "everything": self.everything or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def __str__(self) -> str:
        told = {
            "entry": self.entry_id,
            "answers put there by": self.job_id,
            "answers of the model": self.model,
            "entries older than": None if self.older_than is None else duration(self.older_than),
        }
        words = ", ".join(f"{what} {value}" for what, value in told.items() if value is not None)
        return f"from the cache: {words}" if words else "everything from the cache"


def run_stats(*, as_json: bool) -> int:
    """Prints what the cache holds."""

    async def stats(platform: Platform) -> int:
        told = await platform.call("GET", "/v1/cache/stats")
        click.echo(_json(told) if as_json else stats_page(told))
        return 0

    return run_client(stats)


def run_explain(question: Question, *, as_json: bool) -> int:
    """Prints how a lookup would be decided."""

    async def explain(platform: Platform) -> int:
        chat = await chat_of(platform, question)
        told = await platform.call("POST", "/v1/cache/explain", json={"request": chat})
        click.echo(_json(told) if as_json else explanation_page(told))
        return 0

    return run_client(explain)


def run_invalidate(chosen: Chosen) -> int:
    """Removes entries, and says how many."""

    async def invalidate(platform: Platform) -> int:
        told = await platform.call("POST", "/v1/cache/invalidate", json=chosen.body())
        click.echo(f"removed: {told['removed']}", err=True)
        return 0

    return run_client(invalidate)


def run_feedback(entry_id: str | None, job_id: str | None, *, wrong: bool) -> int:
    """Judges an answer, and says what became of its entry."""

    async def feedback(platform: Platform) -> int:
        named = {"job_id": job_id} if entry_id is None else {"entry_id": entry_id}
        told = await platform.call("POST", "/v1/cache/feedback", json=named | {"wrong": wrong})
        removed = "yes" if told["removed"] else "no"
        click.echo(f"entry={told['entry_id']} removed={removed}", err=True)
        return 0

    return run_client(feedback)


def _json(told: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(told)).decode()
