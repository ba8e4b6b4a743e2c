"""`tidegate` and its commands."""

import sys
from pathlib import Path
from typing import Any

import click

from tidegate import __version__
from tidegate.cli.cache_group import cache
from tidegate.cli.extras import require_operator
from tidegate.cli.install_group import install
from tidegate.cli.job_id import JOB_ID
from tidegate.cli.service import service_command

_SERVICES = {
    "gateway": "The way in: accepts jobs over gRPC and HTTP.",
    "worker": "Takes jobs from the queue and calls the model.",
    "streaming": "The way out: events over WebSocket and SSE.",
    "simulator": "An OpenAI-compatible model server for development and load tests.",
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="tidegate")
def main() -> None:
    """Tidegate takes LLM calls out of the request path."""


for _name, _help in _SERVICES.items():
    main.add_command(service_command(_name, f"tidegate.{_name}", _help))

main.add_command(
    service_command(
        "operator",
        "tidegate_operator",
        "Keeps the worker pools of a Kubernetes cluster in step with their queues.",
        require=require_operator,
    )
)

main.add_command(cache)
main.add_command(install)


@main.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path(".tidegate"),
    show_default=True,
    help="Directory for what survives restarts.",
)
@click.option(
    "--port-offset",
    type=click.IntRange(0, 50_000),
    default=0,
    help="Added to every port, for a second platform beside the first.",
)
@click.option(
    "--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Worker processes."
)
@click.option("--base-url", help="Base URL of an OpenAI-compatible provider.")
@click.option("--model", "models", multiple=True, help="A model of that provider; repeatable.")
@click.option("--no-cache", is_flag=True, help="Call the model for repeated questions too.")
@click.option("--simulator", is_flag=True, help="Use the simulator even if a provider is set.")
@click.option(
    "--routes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A routes file of your own, instead of a generated one.",
)
def up(**options: Any) -> None:
    """Run the whole platform on this machine until Ctrl-C.

    The model is the simulator, unless OPENAI_API_KEY is set or --base-url is given.
    """
    from tidegate.cli.up.app import run
    from tidegate.cli.up.plan import UpOptions

    sys.exit(run(UpOptions(**options)))


@main.command()
@click.argument("prompt", nargs=-1, required=True)
@click.option("--model", help="A model of the platform; its first one by default.")
@click.option("--system", help="A system message.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Bound on the answer.")
@click.option("--batch", is_flag=True, help="Not urgent: runs behind interactive jobs.")
def ask(
    prompt: tuple[str, ...],
    model: str | None,
    system: str | None,
    max_tokens: int | None,
    batch: bool,
) -> None:
    """Ask the model and print its answer as it is made.

    The prompt `-` is read from standard input. The answer goes to standard output, all else to
    standard error. The exit status is 0 only for a completed job.
    """
    from tidegate.cli.ask import Question, run_ask

    text = sys.stdin.read() if prompt == ("-",) else " ".join(prompt)
    sys.exit(run_ask(Question(text, model, system, max_tokens, batch)))


@main.group()
def jobs() -> None:
    """Look at jobs, follow them, end them."""


@jobs.command("get")
@click.argument("job_id", type=JOB_ID)
def jobs_get(job_id: str) -> None:
    """Print a job as JSON."""
    from tidegate.cli.jobs import run_get

    sys.exit(run_get(job_id))


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
def jobs_list(limit: int) -> None:
    """List jobs: those that wait or run first, then the finished ones."""
    from tidegate.cli.jobs import run_list

    sys.exit(run_list(limit))


@jobs.command("cancel")
@click.argument("job_id", type=JOB_ID)
def jobs_cancel(job_id: str) -> None:
    """Ask for the end of a job."""
    from tidegate.cli.jobs import run_cancel

    sys.exit(run_cancel(job_id))


@jobs.command("watch")
@click.argument("job_id", type=JOB_ID)
@click.option("--after-sequence", type=click.IntRange(min=0), default=0, show_default=True)
def jobs_watch(job_id: str, after_sequence: int) -> None:
    """Follow a job and print its answer as it is made."""
    from tidegate.cli.ask import run_watch

    sys.exit(run_watch(job_id, after_sequence))


@main.group()
def dlq() -> None:
    """Dead letters: jobs that failed for good, kept for seven days."""


@dlq.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
def dlq_list(limit: int) -> None:
    """List dead letters, oldest first."""
    from tidegate.cli.dlq import run_list

    sys.exit(run_list(limit))


@dlq.command("show")
@click.argument("job_id", type=JOB_ID)
@click.option("--request", "with_request", is_flag=True, help="Also what the job asked the model.")
def dlq_show(job_id: str, with_request: bool) -> None:
    """Print the dead letter of a job as JSON: why it failed, how often it was tried."""
    from tidegate.cli.dlq import run_show

    sys.exit(run_show(job_id, with_request=with_request))


@dlq.command("replay")
@click.argument("job_ids", nargs=-1, type=JOB_ID, metavar="[JOB_ID]...")
@click.option("--all", "every", is_flag=True, help="Every dead letter that there is now.")
def dlq_replay(job_ids: tuple[str, ...], every: bool) -> None:
    """Make a new job of a dead letter, which is removed once that is accepted.

    Prints the failed job's id and the new one's. The exit status is 1 if any could not be replayed;
    its dead letter is kept.
    """
    from tidegate.cli.dlq import run_replay

    if every == bool(job_ids):
        raise click.UsageError("give job ids, or --all")
    sys.exit(run_replay(job_ids, every=every))


@dlq.command("purge")
@click.argument("job_ids", nargs=-1, type=JOB_ID, metavar="[JOB_ID]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def dlq_purge(job_ids: tuple[str, ...], yes: bool) -> None:
    """Remove the dead letters of these jobs, or all of this key's tenant. Asks before."""
    from tidegate.cli.dlq import run_purge

    if not yes:
        which = f"the dead letters of {', '.join(job_ids)}" if job_ids else "every dead letter"
        click.confirm(f"Remove {which}?", abort=True, err=True)
    sys.exit(run_purge(job_ids))


@main.command()
@click.option("--watch", is_flag=True, help="Every two seconds, with the figures of the moment.")
@click.option("--json", "as_json", is_flag=True, help="For programs; watching, one line each.")
def stats(watch: bool, as_json: bool) -> None:
    """Print response times, cache hits, queues and cost of the whole platform.

    Figures count from the start of each worker. This takes an operator's key: that of `tidegate
    up`, or one of `tidegate keys new --operator`.
    """
    from tidegate.cli.stats import run_stats

    sys.exit(run_stats(watch=watch, as_json=as_json))


@main.command()
def metrics() -> None:
    """Print every metric with its labels and meaning."""
    from tidegate.cli.metrics_page import metrics_page

    click.echo(metrics_page(), nl=False)


@main.command()
def settings() -> None:
    """Print every setting with its default and meaning."""
    from tidegate.cli.settings_page import settings_page

    click.echo(settings_page(), nl=False)


@main.group()
def keys() -> None:
    """API keys."""


@keys.command("new")
@click.argument("tenant")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".tidegate/keys.jsonl"),
    show_default=True,
    help="The keys file that gateway and streaming read.",
)
@click.option("--operator", is_flag=True, help="May also see the figures of all tenants.")
def keys_new(tenant: str, path: Path, operator: bool) -> None:
    """Make a key for a tenant, print it once, and store only its hash."""
    from tidegate.cli.keys import run_new

    sys.exit(run_new(tenant, path, operator=operator))


@main.group()
def routes() -> None:
    """The routes file: which models there are, and where they are answered."""


@routes.command("check")
@click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="TIDEGATE_ROUTES_FILE",
    default=Path(".tidegate/routes.yaml"),
)
@click.option("--offline", is_flag=True, help="Check the file alone and call nobody.")
def routes_check(file: Path, offline: bool) -> None:
    """Check a routes file, and call each of its targets once with a question of one token.

    FILE is TIDEGATE_ROUTES_FILE or that of `tidegate up` unless it is given. The exit status is 0
    only if the file is good and every target answered.
    """
    from tidegate.cli.routes import run_check

    sys.exit(run_check(file, offline=offline))


@main.group()
def streams() -> None:
    """The JetStream streams and consumers."""


@streams.command("apply")
def streams_apply() -> None:
    """Make or migrate them now, instead of at the gateway's next start."""
    from tidegate.cli.streams import run_apply

    sys.exit(run_apply())
