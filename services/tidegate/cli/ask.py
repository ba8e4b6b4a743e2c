"""`tidegate ask` and `tidegate jobs watch`: an answer, printed as it is made."""

import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from tidegate.cli.answer import AnswerPrinter, error_line, figures
from tidegate.cli.client import Platform, PlatformError, run_client


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask; None leaves a choice to the platform."""

    text: str
    model: str | None
    system: str | None
    max_tokens: int | None
    batch: bool = False


def run_ask(question: Question) -> int:
    """Asks and prints; the exit status, 0 only for a completed job."""

    async def ask(platform: Platform) -> int:
        started = time.monotonic()
        body = await _body(platform, question)
        job = await platform.call("POST", "/v1/jobs", json=body)
        click.echo(f"job={job['id']}", err=True)
        return await _print_job(platform, job["id"], 0, started)

    return _interruptible(ask)


def run_watch(job_id: str, after_sequence: int) -> int:
    """Follows a job and prints; the exit status, 0 only for a completed job."""

    async def watch(platform: Platform) -> int:
        return await _print_job(platform, job_id, after_sequence, time.monotonic())

    return _interruptible(watch)


def _interruptible(command: Callable[[Platform], Any]) -> int:
    try:
        return run_client(command)
    except KeyboardInterrupt:
        click.echo("\nstopped reading; the job goes on (tidegate jobs watch|cancel ID)", err=True)
        return 130


async def chat_of(platform: Platform, question: Question) -> dict[str, Any]:
    """The question as a Chat Completions body. Raises PlatformError."""
    model = question.model
    if model is None:
        models = (await platform.discover())["models"]
        if not models:
            raise PlatformError("the platform routes no model")
        model = models[0]
    messages = [{"role": "user", "content": question.text}]
    if question.system is not None:
        messages.insert(0, {"role": "system", "content": question.system})
    request: dict[str, Any] = {"model": model, "messages": messages}
    if question.max_tokens is not None:
        request["max_tokens"] = question.max_tokens
    return request


async def _body(platform: Platform, question: Question) -> dict[str, Any]:
    return {
        # A repeat after a lost answer finds the same job.
        "request_id": secrets.token_hex(16),
        "class": "batch" if question.batch else "interactive",
        "request": await chat_of(platform, question),
    }


async def _print_job(platform: Platform, job_id: str, after_sequence: int, started: float) -> int:
    printer = AnswerPrinter()
    first_token: float | None = None
    begun: dict[str, Any] = {}
    async for event in platform.follow(job_id, after_sequence):
        if event["type"] == "attempt_started":
            begun = event
            if not event["continues"]:
                printer.begin_attempt()
        elif event["type"] == "delta" and event["kind"] in ("text", "refusal"):
            first_token = first_token or time.monotonic()
            _write(printer, event["data"])
        elif "usage" in event:
            timed = _timed(started, first_token)
            line = f"job={job_id} {timed} {figures(begun, event)}"
            return _finish(event, line, answered=first_token is not None)
    job = await platform.call("GET", f"/v1/jobs/{job_id}")
    click.echo(f"job={job_id} state={job['state']}, and no event after that one", err=True)
    return 0 if job["state"] == "completed" else 1


def _write(printer: AnswerPrinter, data: str) -> None:
    fresh = printer.add(data)
    if printer.restarted:
        click.echo("\nthe attempt was lost; the next one answers anew:", err=True)
        sys.stdout.write("\n")
    sys.stdout.write(fresh)
    sys.stdout.flush()


def _timed(started: float, first_token: float | None) -> str:
    ttft = "none" if first_token is None else f"{first_token - started:.2f}s"
    return f"ttft={ttft} total={time.monotonic() - started:.2f}s"


def _finish(event: dict[str, Any], last_line: str, *, answered: bool) -> int:
    if answered:
        sys.stdout.write("\n")
        sys.stdout.flush()
    completed = event["type"] == "completed"
    if not completed:
        click.echo(error_line(event), err=True)
    click.echo(last_line, err=True)
    return 0 if completed else 1
