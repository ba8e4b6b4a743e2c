"""An exact clock for schedules: each load is due on ticks of a millisecond."""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from typing import Final

TICK: Final = 0.001


class Ticker:
    """Calls back each millisecond: the loop's own timers are that late, this one is exact."""

    def __init__(self, callback: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        interval = (0, int(TICK * 1e9))
        spec = (ctypes.c_long * 4)(*interval, *interval)
        if self._file < 0 or libc.timerfd_settime(self._file, 0, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "no timer")
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._on_time)

    def stop(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _on_time(self) -> None:
        os.read(self._file, 8)
        self._callback()
