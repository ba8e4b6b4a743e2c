"""Tidegate against LiteLLM's proxy: what each costs, and what each does when something breaks.

    make .venv-litellm/.installed; python -m bench.litellm [--rounds 3] [--only figures,fates]

Both are asked as drop-in proxies: the same client, the same bytes to `POST /v1/chat/completions`
but for port and key, the same simulator behind them, in turns. The direct call to the simulator is
the third side; what a proxy adds is its figure less that of the direct call in the same round.

LiteLLM  `litellm[proxy]` in an environment of its own, set up as its pages on production say where
         they apply without a database: a config file with one model of an OpenAI-compatible
         provider and a master key, `request_timeout: 600`, `LITELLM_MODE=PRODUCTION`, logs at
         ERROR (no access log), one worker process with uvicorn, all else its defaults. Telemetry
         is off, and what it would fetch at its start comes out of its package. One process, with
         what the package brings: uvloop, but no httptools. In the closed loop a second one has two
         workers (`--num_workers 2`), for Tidegate may use both cores of such a machine, too.
Tidegate `tidegate up --no-cache` with its defaults, logs at error: gateway, worker, streaming and
         nats-server, so it may use more than one core. It has each job in nats-server's file store
         before it calls the model; the direct call and LiteLLM keep nothing. CPU is that of all
         four added up, and that of the gateway alone.

Closed loop: so many callers of a model that answers at once; what limits is CPU, and the load and
the simulator have their share of the cores. As the sides use more cores or fewer, the rate stands
beside the same for each core of a side's own CPU. Paced: requests on a schedule, times from when
each was due; whole answers of 16 tokens, and streams of 60 (one chunk each, 60 a second). The rates
leave every process about half of its core idle, so that what is added is work and not a queue. Each
answer is compared with what the simulator says, and only what is right and whole counts in rates,
times and CPU; all else is told as failed. Rounds in which other work took more than 0.3 cores are
left out where one had less. p99 is of all rounds' answers together, and p95 stands there where they
are fewer than 1,000. MiB: resident memory, pages that processes share counted for each.

An answer of Tidegate's that fails under load makes the run fail, and so does a fate in which its
client takes for an answer what is none, or gets none on asking again.

Fates are single observations with the stock `openai` client and its default of two repeats: the
tables say in words what was seen, and what the simulator counted. What is killed is started again
at once: Tidegate's by `tidegate up`, LiteLLM by the bench. After what was not a whole answer, the
client asks again, with the same `Idempotency-Key`, once the side takes requests. The simulator says
the same to the same question each time; of a model that does not, a stream that a second attempt
takes up ends with an error in Tidegate, and the whole answer is had by asking again.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench._litellm_fates import observe
from bench._litellm_rounds import Options, measure
from bench._litellm_sides import litellm_version, world
from bench._litellm_tables import show_fates, show_figures
from bench._machine import describe, package_version
from bench._options import amount, count, some_of

_PARTS = ("figures", "fates")


async def run(options: Options, only: set[str]) -> int:
    """Everything; how many answers of Tidegate's failed."""
    begun, problems = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        async with world(Path(folder)) as at:
            if "figures" in only:
                figures = await measure(at, options)
                show_figures(figures, (*at.sides, at.crowd))
                problems = figures.problems("Tidegate")
            if "fates" in only:
                fates = await observe(at)
                show_fates(fates)
                problems += sum(fate.failed and "Tidegate" in fate.side for fate in fates)
    print(f"\n{time.monotonic() - begun:.0f} s in all")
    return problems


def parse() -> tuple[Options, set[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--callers", type=count, default=64, help="of the closed loop")
    parser.add_argument("--seconds", type=amount, default=3.0, help="of the closed loop")
    parser.add_argument("--rate", type=amount, default=25.0, help="whole answers a second")
    parser.add_argument("--paced-seconds", type=amount, default=6.0)
    parser.add_argument("--stream-rate", type=amount, default=5.0, help="streams a second")
    parser.add_argument("--stream-seconds", type=amount, default=8.0)
    parser.add_argument("--quiet", type=float, default=0.0, help="s to wait for it before a turn")
    parser.add_argument(
        "--only", type=some_of(_PARTS), default=",".join(_PARTS), help="some of these"
    )
    chosen = parser.parse_args()
    options = Options(
        rounds=chosen.rounds,
        at_once=chosen.callers,
        closed_seconds=chosen.seconds,
        rate=chosen.rate,
        paced_seconds=chosen.paced_seconds,
        stream_rate=chosen.stream_rate,
        stream_seconds=chosen.stream_seconds,
        quiet=chosen.quiet,
    )
    return options, set(chosen.only)


def main() -> int:
    options, only = parse()
    version = litellm_version()
    if version is None or importlib.util.find_spec("openai") is None:
        print("LiteLLM is not installed; make bench BENCHES=litellm does that")
        return 1
    print(describe(), flush=True)
    print(f"{'compared':>12}: litellm {version}, client openai {package_version('openai')}\n")
    problems = uvloop.run(run(options, only))
    if problems:
        print(f"FAILED: {problems} answers of Tidegate's were not what the model said")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
