"""Whether this machine's CPU multiplies 8-bit integers without overflowing."""

import platform
import re
from pathlib import Path
from typing import Final

_X86: Final = frozenset({"x86_64", "amd64", "i386", "i686"})
_EXACT: Final = frozenset({"avx512_vnni", "avx_vnni"})
_CPUINFO: Final = Path("/proc/cpuinfo")


def multiplies_exactly(machine: str, cpuinfo: str | None) -> bool:
    """Whether products of unsigned and signed bytes are added without overflow. Pure.

    `machine` is as in `platform.machine()`, `cpuinfo` the text of Linux's /proc/cpuinfo, None where
    there is none. On x86 it takes VNNI: older instructions add two products in 16 bits and saturate
    (onnxruntime's `session.x64quantprecision`). What is not known is taken for no.
    """
    if machine.lower() not in _X86:
        return True
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo or "", re.MULTILINE)
    return flags is not None and not _EXACT.isdisjoint(flags[1].split())


def this_cpu_multiplies_exactly() -> bool:
    """The same of the CPU that this runs on."""
    cpuinfo = _CPUINFO.read_text("ascii", "replace") if _CPUINFO.exists() else None
    return multiplies_exactly(platform.machine(), cpuinfo)
