"""The machine that a measurement was taken on, in a few lines to stand above its figures."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path


def describe() -> str:
    """CPU, cores, system, Python and the versions of what carries the messages."""
    rows = {
        "cpu": cpu_model(),
        "cores": f"{usable_cores()} usable of {os.cpu_count()}, load {load_average()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "packages": ", ".join(
            f"{name} {package_version(name)}" for name in ("nats-py", "uvloop", "msgspec")
        ),
        "nats-server": nats_server_version(),
    }
    return "\n".join(f"{name:>12}: {value}" for name, value in rows.items())


def cpu_model() -> str:
    """The CPU's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> str:
    """The last minute's load: what else ran while this was measured."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def package_version(name: str) -> str:
    """An installed distribution's version."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def nats_server_version() -> str:
    """The version of the server beside the interpreter."""
    binary = Path(sys.executable).with_name("nats-server")
    if not binary.exists():
        return "absent"
    answer = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.strip().removeprefix("nats-server: ")


if __name__ == "__main__":
    print(describe())
