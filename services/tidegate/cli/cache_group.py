"""`tidegate cache` and its commands."""

import sys
from pathlib import Path
from typing import Any

import click

from tidegate.cli.extras import require_cache
from tidegate.cli.job_id import JOB_ID
from tidegate.cli.seconds import SECONDS
from tidegate.cli.service import service_command


@click.group()
def cache() -> None:
    """The cache: answers that were given before, for the same and for like questions."""


cache.add_command(
    service_command(
        "serve",
        "tidegate.cache",
        "The service: looks answers up and keeps them.",
        require=require_cache,
    )
)


@cache.command("stats")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def stats(as_json: bool) -> None:
    """Print what is kept for this key's tenant, and how right the hits were."""
    from tidegate.cli.cache import run_stats

    sys.exit(run_stats(as_json=as_json))


@cache.command("explain")
@click.argument("prompt", nargs=-1, required=True)
@click.option("--model", help="A model of the platform; its first one by default.")
@click.option("--system", help="A system message.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Bound on the answer.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def explain(
    prompt: tuple[str, ...],
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Say how `tidegate ask` with the same words would be answered now, and why.

    Shows what a hit must have in common with the question, the nearest questions with their
    scores, and what the guard objects to. Asks no model and changes nothing. The prompt `-` is
    read from standard input.
    """
    from tidegate.cli.ask import Question
    from tidegate.cli.cache import run_explain

    text = sys.stdin.read() if prompt == ("-",) else " ".join(prompt)
    sys.exit(run_explain(Question(text, model, system, max_tokens), as_json=as_json))


@cache.command("invalidate")
@click.option("--entry", "entry_id", help="An entry.")
@click.option("--job", "job_id", type=JOB_ID, help="What a job has put into the cache.")
@click.option("--model", help="Answers of a public model.")
@click.option("--older-than", type=SECONDS, help="Entries older than this, as in 90s, 15m, 24h.")
@click.option("--all", "everything", is_flag=True, help="Everything of this key's tenant.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def invalidate(yes: bool, **given: Any) -> None:
    """Remove the entries that match all that is given. Asks before."""
    from tidegate.cli.cache import Chosen, run_invalidate

    chosen = Chosen(**given)
    if not chosen.body():
        raise click.UsageError("give --entry, --job, --model, --older-than or --all")
    if not yes:
        click.confirm(f"Remove {chosen}?", abort=True, err=True)
    sys.exit(run_invalidate(chosen))


@cache.command("feedback")
@click.option("--entry", "entry_id", help="An entry.")
@click.option("--job", "job_id", type=JOB_ID, help="A job that was answered by an entry.")
@click.option("--wrong/--right", required=True, help="How the answer was for its question.")
def feedback(entry_id: str | None, job_id: str | None, wrong: bool) -> None:
    """Say that an answer of the cache was right or wrong; a wrong one is removed."""
    from tidegate.cli.cache import run_feedback

    if (entry_id is None) == (job_id is None):
        raise click.UsageError("give --entry or --job")
    sys.exit(run_feedback(entry_id, job_id, wrong=wrong))


@cache.command("calibrate")
@click.option(
    "--pairs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Tab-separated lines: a group, `same` or `different`, and two questions.",
)
@click.option(
    "--embedder",
    help="minilm, path:DIR or route:MODEL; TIDEGATE_CACHE_EMBEDDER by default.",
)
@click.option(
    "--routes",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="TIDEGATE_ROUTES_FILE",
    default=Path(".tidegate/routes.yaml"),
    show_default=True,
    help="Routes file, for route:MODEL.",
)
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the embedder's table, for TIDEGATE_CACHE_CALIBRATION_FILE.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG file for the curve.",
)
def calibrate(**options: Any) -> None:
    """Print what each threshold serves of your own pairs: repeats (R) and look-alikes (F).

    For an embedder that is not built in, also finds the thresholds that are as strict as those of
    the setting, by embedding the pairs with both.
    """
    require_cache()
    from tidegate.cli.cache_calibrate import CalibrateOptions, run_calibrate

    sys.exit(run_calibrate(CalibrateOptions(**options)))
