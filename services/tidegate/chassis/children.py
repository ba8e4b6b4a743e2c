"""What a child process does between fork and exec: `preexec_fn` of asyncio's and uvloop's alike."""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def leave_group() -> None:
    """Ctrl-C in the terminal, and a signal to the whole group, are for the parent alone.

    It stays in the parent's session: Linux may share the CPU by sessions first (sched(7),
    autogroup), and niceness would count for nothing beside other sessions.
    """
    os.setpgrp()


def die_with_parent(by: signal.Signals) -> None:
    """Ends with the thread that started it, however that ends; on Linux only (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
