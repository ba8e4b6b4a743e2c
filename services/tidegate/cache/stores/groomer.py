"""The groomer: a process that makes one folder with search indexes of several.

    python -m tidegate.cache.stores.groomer DIMENSION TARGET SOURCE...

It works on copies, says `copied` once it has them, and has succeeded when it ends with status 0.
It gives up when its standard input ends: who started it has gone.
The first source is extended if it is a settled one: its graphs are used again.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from tidegate.cache.stores.shard import Shard
from tidegate.cache.stores.shards import FINISHED

COPIED: Final = b"copied\n"
_COPIES: Final = "sources"
_NICENESS: Final = 10
# Where nothing is ever idle, an idle process would not end.
_IDLE_SECONDS: Final = 60.0


def groom(dimension: int, target: Path, sources: list[Path]) -> None:
    """Makes `target` of `sources`; later ones count where an entry is in several."""
    extended = sources[:1] if sources[0].name.startswith("settled-") else []
    added = [target / _COPIES / source.name for source in sources[len(extended) :]]
    for source in extended:
        without = shutil.ignore_patterns(FINISHED)
        shutil.copytree(source, target, ignore=without, dirs_exist_ok=True)
    for copy, source in zip(added, sources[len(extended) :], strict=True):
        shutil.copytree(source, copy)
    sys.stdout.buffer.write(COPIED)
    sys.stdout.flush()
    # Not before: nothing can be removed while it copies.
    _give_way()
    made = Shard(target, dimension)
    for copy in added:
        shard = Shard(copy, dimension)
        for kept in shard.everything():
            made.put(kept.id, kept.payload, kept.vector)
        shard.close()
    shutil.rmtree(target / _COPIES)
    made.optimize()
    made.close()


def _give_way() -> None:
    """Lets searches come first, on a machine with one core above all.

    A process that is only nicer keeps a lookup waiting for milliseconds at a time; an idle one
    gives way at once (sched(7), SCHED_IDLE).
    """
    if sys.platform == "linux":
        # Some sandboxes refuse it; then it is nice only.
        with contextlib.suppress(OSError):
            _schedule(os.SCHED_IDLE)
            insist = threading.Timer(_IDLE_SECONDS, _schedule, (os.SCHED_OTHER,))
            insist.daemon = True
            insist.start()


def _schedule(policy: int) -> None:
    """Sets the policy of all threads. One that begins later has that of whoever begins it."""
    for thread in os.listdir("/proc/self/task"):
        # It may have ended by now.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(int(thread), policy, os.sched_param(0))


def _end_with_parent() -> None:
    # Not by Python's own reader, which this thread would hold when the interpreter ends.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    # Ctrl-C in the terminal is for the cache, which ends its groomer in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    groom(int(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
