"""A bed's network: a namespace of its own, and one wire and one route to it from the machine.

All addresses of a bed are of one /18 out of the range that is set aside for tests of networks
(RFC 2544), so that nothing that the machine knows by an address is hidden:

    198.18.0.1       the machine, at its end of the wire
    198.18.0.2       the node, at the other end
    198.18.16.0/20   pods
    198.18.32.0/19   Services

The next beds have 198.19.0, 198.18.64, 198.19.64 and so on. Pods have no way out: the namespace has
no default route.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bed.errors import StartFailed

_FIRST: Final = 18
SLOTS: Final = range(8)


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of the bed in a slot, and what its parts are called."""

    slot: int

    def _at(self, third: int, fourth: int = 0) -> str:
        """An address by its third number, counted within the bed, and its fourth."""
        return f"198.{_FIRST + self.slot % 2}.{64 * (self.slot // 2) + third}.{fourth}"

    @property
    def whole(self) -> str:
        """Where the machine's one route leads."""
        return f"{self._at(0)}/18"

    @property
    def machine(self) -> str:
        """The machine's own address on the wire."""
        return self._at(0, 1)

    @property
    def node(self) -> str:
        """The node's address; the API server and the DNS server listen there too."""
        return self._at(0, 2)

    @property
    def pods(self) -> str:
        """The pods' network."""
        return f"{self._at(16)}/20"

    @property
    def services(self) -> str:
        """The Services' network."""
        return f"{self._at(32)}/19"

    @property
    def wire(self) -> str:
        """The machine's end of the wire."""
        return f"tidebed{_FIRST + self.slot}"


def inside(namespace: Path) -> list[str]:
    """What to put before a command that is to run in the namespace.

    Not `ip netns exec`, which mounts another /sys, without the control groups.
    """
    return ["nsenter", f"--net={namespace}", "--"]


def make(network: Network, namespace: Path) -> None:
    """Namespace, wire and route. Raises StartFailed if the machine uses the addresses already."""
    for route in _routes(network.whole):
        raise StartFailed(f"this machine has a route to {network.whole} already: {route}")
    namespace.touch()
    _run("unshare", f"--net={namespace}", "true")
    within = inside(namespace)
    _run(*within, "ip", "link", "set", "lo", "up")
    # The peer is born at the machine's end: the namespace of this very process.
    peer = ("peer", "name", network.wire, "netns", str(os.getpid()))
    _run(*within, "ip", "link", "add", "eth0", "type", "veth", *peer)
    _run(*within, "ip", "address", "add", f"{network.node}/24", "dev", "eth0")
    _run(*within, "ip", "link", "set", "eth0", "up")
    # A packet for a Service needs some route before kube-proxy turns it to a pod.
    _run(*within, "ip", "route", "add", network.services, "dev", "eth0", "src", network.node)
    _run(*within, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    _run("ip", "address", "add", f"{network.machine}/24", "dev", network.wire)
    _run("ip", "link", "set", network.wire, "up")
    _run("ip", "route", "add", network.whole, "via", network.node)


def remove(network: Network) -> None:
    """The wire, and with it the route; the namespace goes with its mount and its processes."""
    if Path("/sys/class/net", network.wire).exists():
        subprocess.run(["ip", "link", "delete", network.wire], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StartFailed(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _routes(whole: str) -> list[str]:
    """The machine's routes that lead to any part of a network, but for the default."""
    found = []
    for relation in ("root", "match"):
        asked = ["ip", "-4", "route", "show", "to", relation, whole]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        found += [each for each in done.stdout.splitlines() if not each.startswith("default")]
    return found
