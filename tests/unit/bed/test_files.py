"""What the programs of a node are told, and what a test asks them."""

import ipaddress
import itertools
import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.bed import kwok, node_files, volumes
from tests.bed.cluster import Object, port_of
from tests.bed.credentials import kubeconfig
from tests.bed.network import SLOTS, Network

FOLDER = Path("/tmp/beds/node-0")


@pytest.mark.parametrize("slot", SLOTS)
def test_all_addresses_of_a_bed_are_in_its_range(slot: int) -> None:
    network = Network(slot)
    whole = ipaddress.IPv4Network(network.whole)
    assert whole.subnet_of(ipaddress.IPv4Network("198.18.0.0/15"))
    pods, services = map(ipaddress.IPv4Network, (network.pods, network.services))
    assert pods.subnet_of(whole)
    assert services.subnet_of(whole)
    assert not pods.overlaps(services)
    for address in map(ipaddress.IPv4Address, (network.machine, network.node)):
        assert address in whole
        assert address not in pods
        assert address not in services
    assert len(network.wire) <= 15


def test_beds_do_not_meet() -> None:
    wholes = [ipaddress.IPv4Network(Network(slot).whole) for slot in SLOTS]
    assert not [(a, b) for a, b in itertools.combinations(wholes, 2) if a.overlaps(b)]
    assert len({Network(slot).wire for slot in SLOTS}) == len(SLOTS)


def test_every_path_of_a_node_is_below_its_folder() -> None:
    network = Network(0)
    texts = [
        node_files.containerd(FOLDER, Path("/cni")),
        node_files.cni(FOLDER, network),
        node_files.kubelet(FOLDER, network, "bed"),
        node_files.coredns(network, FOLDER / "kubeconfig"),
    ]
    paths = [path for text in texts for path in re.findall(r'(?<=["/ ])/[a-z][\w/-]+', text)]
    assert {path for path in paths if not path.startswith(f"{FOLDER}/")} == {
        *("/cni", "/bed"),
        "/opt",  # in a comment
    }


def test_the_files_can_be_read() -> None:
    parsed = tomllib.loads(node_files.containerd(FOLDER, Path("/cni")))
    assert parsed["plugins"]["io.containerd.grpc.v1.cri"]["cni"]["bin_dir"] == "/cni"
    assert json.loads(node_files.kubelet(FOLDER, Network(1), "bed"))["cgroupRoot"] == "/bed"


def test_a_kubeconfig_trusts_its_own_authority_alone() -> None:
    made = kubeconfig("https://198.18.0.2:6443", b"certificate", "secret")
    assert made["clusters"][0]["cluster"] == {
        "server": "https://198.18.0.2:6443",
        "certificate-authority-data": "Y2VydGlmaWNhdGU=",
    }


def test_pretended_nodes_go_on_counting() -> None:
    assert [node["metadata"]["name"] for node in kwok.nodes(3, 2)] == ["kwok-3", "kwok-4"]


def test_volumes_that_claims_have_left_are_known() -> None:
    found = [
        {"metadata": {"name": "a"}, "status": {"phase": "Released"}},
        {"metadata": {"name": "b"}, "status": {"phase": "Bound"}},
        {"metadata": {"name": "c"}},
    ]
    assert volumes.released(found) == ["a"]


def test_a_port_is_found_by_name_or_number() -> None:
    service: Object = {
        "metadata": {"name": "web"},
        "spec": {"ports": [{"name": "http", "port": 80}, {"name": "grpc", "port": 81}]},
    }
    assert port_of(service, "grpc")["port"] == 81
    assert port_of(service, 80)["name"] == "http"
    with pytest.raises(LookupError, match="no port 82"):
        port_of(service, 82)
