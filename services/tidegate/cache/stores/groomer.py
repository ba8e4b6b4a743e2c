"""The groomer: a process that makes one folder with search indexes of several.

    python -m tidegate.cache.stores.groomer idle|nice DIMENSION TARGET SOURCE...

It works on copies, says `copied` once it has them, and has succeeded when it ends with status 0.
It gives up when its standard input ends: who started it has gone.
The first source is extended if it is a settled one: its graphs are used again.
"""

import contextlib
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Final

from tidegate.cache.stores.shard import Shard
from tidegate.cache.stores.shards import FINISHED

COPIED: Final = b"copied\n"
_COPIES: Final = "sources"
_NICENESS: Final = 10


def groom(dimension: int, target: Path, sources: list[Path], *, idle: bool) -> None:
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
    if idle:
        _work_when_idle()
    made = Shard(target, dimension)
    for copy in added:
        shard = Shard(copy, dimension)
        for kept in shard.everything():
            made.put(kept.id, kept.payload, kept.vector)
        shard.close()
    shutil.rmtree(target / _COPIES)
    made.optimize()
    made.close()


def _work_when_idle() -> None:
    """Lets searches come first, on a machine with one core above all (sched(7), SCHED_IDLE).

    A process that is only nicer keeps a lookup waiting for milliseconds at a time. There may be no
    way back, which takes a right, and threads that begin later are idle too: who started it ends
    it where it never has its turn.
    """
    if sys.platform == "linux":
        # Some sandboxes refuse it; then it is nice only.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _end_with_parent() -> None:
    # Not by Python's own reader, which this thread would hold when the interpreter ends.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _how, _dimension, _target, *_sources = sys.argv[1:]
    groom(int(_dimension), Path(_target), [*map(Path, _sources)], idle=_how == "idle")
