"""The control plane: etcd, the API server, the controller manager and the scheduler.

On loopback with free ports it is a bed of its own; in a node's namespace it is the node's. It is
up once a service account was made, for that takes all of them but the scheduler.
"""

import http.client
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bed import state
from tests.bed.credentials import Credentials
from tests.bed.errors import Unavailable
from tests.bed.processes import Processes
from tests.support.ports import free_port

KIND: Final = "control"
PROGRAMS: Final = "programs"  # in a bed's folder, the way to what it was started with
_SLOTS: Final = range(16)
_NETWORK: Final = "10.96.0.0/16"
# A thousand objects at once are what this is for; the defaults would throttle ourselves.
_PACE: Final = ("--kube-api-qps=400", "--kube-api-burst=800")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers listen. `api` is the address that others reach the API server by."""

    api: str
    api_port: int
    etcd_port: int
    peer_port: int
    services: str
    pods: str | None = None

    @classmethod
    def on_loopback(cls) -> "Addresses":
        """Ports of this machine that are free."""
        return cls("127.0.0.1", free_port(), free_port(), free_port(), _NETWORK)

    @property
    def url(self) -> str:
        """The API server's."""
        return f"https://{self.api}:{self.api_port}"

    @property
    def is_loopback(self) -> bool:
        """Then no pod could reach it, and it is not to be told that it can."""
        return self.api.startswith("127.")


class ControlPlane:
    """The servers of one bed in `folder`, with the programs in `binaries`."""

    def __init__(self, binaries: Path, processes: Processes, addresses: Addresses) -> None:
        self.credentials = Credentials(processes.folder)
        self.addresses = addresses
        self._binaries = binaries
        self._processes = processes

    def start_storage(self) -> None:
        """etcd and the API server; they find each other while the caller does other things."""
        (self._processes.folder / PROGRAMS).symlink_to(self._binaries)
        self.credentials.make()
        client = f"http://127.0.0.1:{self.addresses.etcd_port}"
        peer = f"http://127.0.0.1:{self.addresses.peer_port}"
        self._processes.start(
            "etcd",
            self._binaries / "etcd",
            *("--data-dir", self._processes.folder / "etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}", "--log-level", "warn"),
        )
        self._processes.start("apiserver", *self._api_server(client))

    def start_controllers(self) -> None:
        """Wait for the API server, then start who works on what it keeps."""
        self._processes.until(self._is_ready, "the API server is ready")
        self.credentials.write_kubeconfig(self.addresses.url)
        kubeconfig = self.credentials.kubeconfig
        common = ("--kubeconfig", kubeconfig, "--leader-elect=false", "--secure-port=0", *_PACE)
        pods = ("--cluster-cidr", self.addresses.pods) if self.addresses.pods else ()
        self._processes.start(
            "controllers",
            self._binaries / "kube-controller-manager",
            *common,
            *("--service-account-private-key-file", self.credentials.accounts_key),
            *("--root-ca-file", self.credentials.certificate),
            *("--allocate-node-cidrs=false", *pods),
            *("--flex-volume-plugin-dir", self._processes.folder / "plugins"),
        )
        self._processes.start("scheduler", self._binaries / "kube-scheduler", *common)

    def until_working(self) -> None:
        """Wait for the first thing that the controller manager does for everybody."""
        self._processes.until(self._has_accounts, "the controller manager makes service accounts")

    def _api_server(self, etcd: str) -> list[str | Path]:
        addresses, files = self.addresses, self.credentials
        listen = addresses.api if addresses.is_loopback else "0.0.0.0"
        nobody = ["--endpoint-reconciler-type=none"] if addresses.is_loopback else []
        return [
            self._binaries / "kube-apiserver",
            *("--etcd-servers", etcd, "--cert-dir", files.certificates),
            *("--bind-address", listen, "--secure-port", str(addresses.api_port)),
            *("--advertise-address", addresses.api, *nobody),
            *("--service-cluster-ip-range", addresses.services),
            *("--authorization-mode", "Node,RBAC", "--token-auth-file", files.tokens),
            *("--enable-admission-plugins", "NodeRestriction", "--allow-privileged"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-key-file", files.accounts_key),
            *("--service-account-signing-key-file", files.accounts_key),
            *("--kubelet-preferred-address-types", "InternalIP"),
        ]

    def _is_ready(self) -> bool:
        context = ssl._create_unverified_context()
        host, port = self.addresses.api, self.addresses.api_port
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _has_accounts(self) -> bool:
        asked = ("get", "serviceaccount", "default", "--namespace=default", "--output=name")
        done = subprocess.run(
            [self._binaries / "kubectl", "--kubeconfig", self.credentials.kubeconfig, *asked],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0


def up(binaries: Path) -> tuple[Path, Processes]:
    """A control plane on loopback, owned by this process; its folder and its processes.

    `state.release(folder)` ends it. Raises Unavailable or StartFailed, and leaves nothing then.
    """
    if shutil.which("openssl") is None:
        raise Unavailable("openssl is missing: install it by 'make deps'")
    folder, _ = state.claim(KIND, _SLOTS)
    processes = Processes(folder)
    try:
        plane = ControlPlane(binaries, processes, Addresses.on_loopback())
        plane.start_storage()
        plane.start_controllers()
        plane.until_working()
    except BaseException:
        state.release(folder)
        processes.reap()
        raise
    return folder, processes
