"""The node level: a real kubelet with containerd, kube-proxy and CoreDNS, beside a control plane.

Everything runs in a network namespace of the bed's own (`network`) and keeps its files below the
bed's folder. The machine reaches the API server, the Services and the pods by their addresses.
"""

import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from tests.bed import cgroups, mounts, network, node_files, state, traces, volumes
from tests.bed.cleaning import cgroup_of
from tests.bed.commands import run
from tests.bed.control_plane import Addresses, ControlPlane
from tests.bed.errors import CommandError, Unavailable
from tests.bed.images import load
from tests.bed.network import Network
from tests.bed.processes import Processes
from tests.bed.progress import Say

KIND: Final = "node"
_TOOLS: Final = (
    *("containerd", "ctr", "runc", "containerd-shim-runc-v2"),
    *("ip", "nft", "nsenter", "unshare", "umount", "openssl"),
)
_PLUGINS: Final = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")


def require() -> Path:
    """The folder of the CNI plugins. Raises Unavailable unless this machine can have a node."""
    if sys.platform != "linux":
        raise Unavailable("a node needs Linux")
    if os.geteuid() != 0:
        raise Unavailable("a node needs root: run as root")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    plugins = next((Path(path) for path in _PLUGINS if Path(path, "ptp").exists()), None)
    if plugins is None:
        missing.append("CNI plugins")
    if missing:
        raise Unavailable(f"a node needs {', '.join(missing)}: install them by 'make deps'")
    assert plugins is not None
    return plugins


def up(binaries: Path, images: Iterable[Path], say: Say) -> tuple[Path, Processes]:
    """A node that is ready, owned by this process, with `images` (archives) loaded.

    `state.release(folder)` ends it. Raises Unavailable or StartFailed, and leaves nothing then.
    """
    plugins = require()
    folder, slot = state.claim(KIND, network.SLOTS)
    node = Node(folder, Network(slot), binaries, plugins)
    try:
        node.start(list(images), say)
    except BaseException:
        state.release(folder)
        node.processes.reap()
        raise
    return folder, node.processes


class Node:
    """The programs of one node, in `folder`."""

    def __init__(self, folder: Path, place: Network, binaries: Path, plugins: Path) -> None:
        self.folder = folder
        self.network = place
        self._namespace = folder / "network"
        self._binaries = binaries
        self._plugins = plugins
        self.processes = Processes(folder, network.inside(self._namespace))
        addresses = Addresses(place.node, 6443, 2379, 2380, place.services, place.pods)
        self._plane = ControlPlane(binaries, self.processes, addresses)

    @property
    def _kubeconfig(self) -> Path:
        return self._plane.credentials.kubeconfig

    def start(self, images: list[Path], say: Say) -> None:
        """Everything, in the order in which one needs the other."""
        traces.note(self.folder)
        network.make(self.network, self._namespace)
        cgroups.make(cgroup_of(self.network.slot))
        mounts.in_memory(self.folder / "containerd")
        self._write_files()
        self._plane.start_storage()
        self.processes.start(
            "containerd", "containerd", "--config", self.folder / "containerd.toml"
        )
        self._until_containerd()
        for image in images:
            say(f"loading {image.name}")
            load(self.folder, image)
        self._plane.start_controllers()
        say("the API server is ready")
        self._start_agents()
        self._add_volumes()
        self._plane.until_working()
        self.processes.until(self._is_ready, "the node is ready")
        self.processes.until(self._has_names, "CoreDNS knows the cluster")
        self.processes.until(self._is_proxied, "kube-proxy has its rules")
        say("the node is ready")

    def _write_files(self) -> None:
        texts = {
            "containerd.toml": node_files.containerd(self.folder, self._plugins),
            "cni/10-pods.conflist": node_files.cni(self.folder, self.network),
            "kubelet.json": node_files.kubelet(
                self.folder, self.network, cgroup_of(self.network.slot)
            ),
            "Corefile": node_files.coredns(self.network, self._kubeconfig),
            "resolv.conf": node_files.resolver(self.network),
        }
        for name, text in texts.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _start_agents(self) -> None:
        self.processes.start(
            "kubelet",
            self._binaries / "kubelet",
            *("--config", self.folder / "kubelet.json", "--kubeconfig", self._kubeconfig),
            *("--root-dir", self.folder / "kubelet", "--cert-dir", self.folder / "kubelet/pki"),
            *("--hostname-override", node_files.NODE_NAME, "--node-ip", self.network.node),
        )
        self.processes.start(
            "proxy",
            self._binaries / "kube-proxy",
            *("--kubeconfig", self._kubeconfig, "--hostname-override", node_files.NODE_NAME),
            *("--proxy-mode", "nftables", "--cluster-cidr", self.network.pods),
            # Its size is the whole machine's, and the namespace may not change it.
            *("--conntrack-max-per-core", "0"),
            *("--healthz-bind-address", f"{self.network.node}:10256"),
        )
        corefile = self.folder / "Corefile"
        self.processes.start("coredns", self._binaries / "coredns", "-conf", corefile)

    def _add_volumes(self) -> None:
        folder = self.folder / "volumes"
        volumes.make_folders(folder)
        items = {"apiVersion": "v1", "kind": "List", "items": volumes.objects(folder)}
        self._kubectl("create", "--filename=-", input=msgspec.json.encode(items))

    def _until_containerd(self) -> None:
        socket = node_files.socket(self.folder)
        self.processes.until(socket.exists, "containerd listens")

    def _is_ready(self) -> bool:
        condition = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        try:
            said = self._kubectl("get", "node", node_files.NODE_NAME, f"--output={condition}")
        except CommandError:  # it has not registered itself
            return False
        return said == "True"

    def _has_names(self) -> bool:
        return _answers(f"http://{self.network.node}:{node_files.DNS_READY_PORT}/ready")

    def _is_proxied(self) -> bool:
        return _answers(f"http://{self.network.node}:10256/healthz")

    def _kubectl(self, *arguments: str, input: bytes | None = None) -> str:
        program = [str(self._binaries / "kubectl"), "--kubeconfig", str(self._kubeconfig)]
        return run([*program, *arguments], input=input)


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


# Whatever proxy the machine has, it knows nothing of a bed.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
