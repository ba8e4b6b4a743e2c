"""A connection past a wire must be seen: a wire that nobody uses is struck in vain."""

import os
import socket

from tests.chaos.peers import bypasses, peers_of

WIRE = "services to NATS"
BEHIND, BEFORE = {WIRE: [4222]}, {WIRE: [9001, 9002]}


def complaints(*ports: int) -> list[str]:
    return list(
        bypasses({"worker-1": ports}, behind=BEHIND, before=BEFORE, wanted={WIRE: ["worker-1"]})
    )


def test_whoever_uses_the_wire_is_no_complaint() -> None:
    assert complaints(9002, 8080) == []


def test_a_connection_past_the_wire_is_told() -> None:
    assert complaints(9001, 4222) == [f"worker-1 is connected past the wire {WIRE}, to [4222]"]


def test_no_connection_on_the_wire_is_told() -> None:
    assert complaints(8080) == [f"worker-1 has no connection on the wire {WIRE}"]


def test_the_kernel_knows_ones_own_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port not in peers_of(os.getpid())
        with socket.create_connection(("127.0.0.1", port)):
            assert port in peers_of(os.getpid())
