"""The configuration files of a node's programs, as texts."""

import json
from pathlib import Path
from typing import Final

from tests.bed.network import Network

NODE_NAME: Final = "node"
PAUSE_IMAGE: Final = "localhost/tidegate-pause:1"
DNS_READY_PORT: Final = 8181


def containerd(folder: Path, plugins: Path) -> str:
    """containerd 1.6 or newer. `plugins`: where the CNI plugins are."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{folder}/containerd"
state = "{folder}/run"

[grpc]
  address = "{socket(folder)}"

# Else it makes folders in /opt.
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"

[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  netns_mounts_under_state_dir = true
  # It may not become more important than whoever started it.
  restrict_oom_score_adj = true

[{cri}.cni]
  bin_dir = "{plugins}"
  conf_dir = "{folder}/cni"

[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{folder}/runc"
"""


def cni(folder: Path, network: Network) -> str:
    """Each pod has a wire of its own and is routed: nothing depends on how a bridge filters."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": network.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": f"{folder}/addresses",
    }
    plugin = {"type": "ptp", "ipMasq": False, "ipam": addresses}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [plugin]}, indent=2)


def kubelet(folder: Path, network: Network, cgroup: str) -> str:
    """The kubelet's; JSON is YAML to it."""
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": network.node,
            # Its port is reached from this machine and from the bed's own pods only.
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{socket(folder)}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup}",
            "failCgroupV1": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "clusterDNS": [network.node],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{folder}/resolv.conf",
            "podLogsDir": f"{folder}/pods",
            "volumePluginDir": f"{folder}/plugins",
            "makeIPTablesUtilChains": False,
            # The disk is the machine's: its use says nothing of the bed, and an image that was
            # loaded can be had again from nowhere.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
            },
            # A changed ConfigMap or Secret shows in a pod after seconds, not after a minute.
            "syncFrequency": "5s",
        },
        indent=2,
    )


def coredns(network: Network, kubeconfig: Path) -> str:
    """The cluster's names; every other name does not exist, said at once."""
    return f"""\
cluster.local:53 in-addr.arpa:53 {{
  bind {network.node}
  errors
  ready {network.node}:{DNS_READY_PORT}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig} tidegate-bed
    pods insecure
    ttl 1
  }}
}}
.:53 {{
  bind {network.node}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def resolver(network: Network) -> str:
    """What the kubelet makes the pods' resolv.conf of."""
    return f"nameserver {network.node}\n"


def socket(folder: Path) -> Path:
    """containerd's."""
    return folder / "containerd.sock"
