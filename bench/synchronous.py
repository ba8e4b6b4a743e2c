"""Tidegate against the thing people do today: the model call in the request.

    python -m bench.synchronous [--users 10,100,1000,2000] [--rounds 3]
    python -m bench.synchronous --plot docs/images/synchronous.png

The same users ask the same simulator (1 s to the first token, 40 tokens/s, 80 tokens: a call takes
3 s) through three servers in turns, each fresh for its round:

sync      A plain `def` endpoint of FastAPI that calls the stock `openai` client and returns the
          whole answer; one uvicorn process. FastAPI runs such endpoints in a pool of 40 threads,
          and each waits for its model all along: 13 answers a second, however idle the machine.
          That default is what this side runs into, and the point of the comparison. Who knows of
          it can raise it or start more processes; the wall then stands further off.
async     What a careful team has: an `async def` endpoint that passes the tokens of `AsyncOpenAI`
          on as they come; one uvicorn process with uvloop and httptools. Its walls are the
          client's 1,000 connections and the one core that parses every token.
tidegate  `POST /v1/jobs`, then the job's events over SSE. `tidegate up` with its defaults: one
          worker of 256 slots (32 of them for batch jobs); the other jobs wait in the queue. It is
          several processes, so it may use both cores, and it does: see the column for CPU. The
          cache is off: every question is asked of the model.

Each user asks once, on connections of its own; users arrive evenly over 5 s. A proxy's time-out of
30 s is simulated by the client's: so long for a response to begin, and between reads. Nobody
repeats a request. Times are counted from the scheduled moment. Percentiles are over all users, and
who got nothing counts: `never` says that the percentile is one of them. A reply is the first sign
of life: the whole answer (sync), the response's headers (async), the 202 with the job (tidegate).
Each text is compared with what the simulator says; on Tidegate's side the events' sequences too,
and there a token that is lost, doubled or out of order fails the run. MiB: the sum of the servers'
peaks of resident memory (Tidegate: gateway, worker, streaming, nats-server); CPU: their time.

One round by default, for its length. With `--rounds`, another side is first each time; a row then
has the medians of the rounds, the row beneath it the least and the most, and the plot the medians.

The load generator and the simulator run on the same machine: at 1,000 users all of it together is
more than two cores have to give, and what is measured then is also how they are shared. `late` is
the load generator's own lateness at p99, which is in all times. Other work falls on the sides
unevenly. So each turn waits for a quiet moment, `--patience` seconds at most, and `other` says what
CPU other work has taken meanwhile: a comparison is worth something where that is little beside the
rest.

Needs FastAPI, uvicorn and httptools (requirements-bench.lock).
"""

import argparse
import importlib.util
import resource
import sys
from pathlib import Path
from typing import Final

import uvloop

from bench._machine import describe, package_version
from bench._options import count, counts, some_of
from bench._synchronous_load import Load
from bench._synchronous_rounds import Round, measure
from bench._synchronous_sides import SIDES, all_sides
from bench._synchronous_table import show, show_checked

_LOAD: Final = Load(
    tokens=80, ttft=1.0, rate=40.0, arrival=5.0, proxy_timeout=30.0, round_bound=120.0
)
_PACKAGES: Final = ("fastapi", "uvicorn", "httptools", "openai")


def print_table(rounds: list[Round]) -> None:
    """Seconds, p50 and p95 of all users."""
    print(f"\n{describe()}")
    versions = ", ".join(f"{name} {package_version(name)}" for name in _PACKAGES)
    print(f"{'compared':>12}: {versions}")
    show(
        rounds,
        f"A call of {_LOAD.call_seconds:.1f} s, {_LOAD.ttft:g} s to its first token; users "
        f"arrive over {_LOAD.arrival:g} s; a proxy's time-out of {_LOAD.proxy_timeout:g} s, "
        "simulated.\nSeconds from the scheduled moment, p50 / p95 of all users.",
    )
    show_checked(rounds)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--users", type=counts, default="10,100,1000,2000", help="numbers of users, one by one"
    )
    parser.add_argument("--sides", type=some_of(SIDES), default=",".join(SIDES))
    parser.add_argument("--rounds", type=count, default=1, help="of each number of users")
    parser.add_argument("--workers", type=count, default=1, help="Tidegate's worker processes")
    parser.add_argument("--slots", type=count, default=256, help="jobs that each runs at once")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for quiet")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a PNG")
    chosen = parser.parse_args()
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        print(f"{', '.join(absent)}: not installed; make bench BENCHES=synchronous does that")
        return 1
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sides = [side for side in all_sides(chosen.workers, chosen.slots) if side.name in chosen.sides]
    rounds = uvloop.run(measure(sides, chosen.users, _LOAD, chosen.rounds, chosen.patience))
    print_table(rounds)
    if chosen.plot:
        from bench._synchronous_plot import draw

        draw(rounds, _LOAD, chosen.plot)
    wrong = sum(found.wrong for found in rounds if found.side.name == "tidegate")
    if wrong:
        print(f"{wrong} answers of Tidegate's were not what the model said")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
