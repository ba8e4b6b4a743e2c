"""Without these a load balancer would send calls to a process that cannot answer them."""

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tidegate.chassis.health import Health, health_app
from tidegate.chassis.metrics import ChassisMetrics, make_registry


def test_nothing_known_is_not_ready() -> None:
    assert not Health().ready


def test_ready_only_while_every_condition_holds() -> None:
    health = Health()
    health.set("nats", True)
    health.set("streams", False, "not made yet")
    assert health.failing == {"streams": "not made yet"}
    health.set("streams", True)
    assert health.ready


def test_listeners_hear_changes_of_the_whole_only() -> None:
    health = Health()
    heard: list[bool] = []
    health.subscribe(heard.append)
    health.set("a", False, "x")
    health.set("b", True)
    health.set("a", True)
    health.set("a", True)
    health.set("a", False, "y")
    health.set("b", False, "z")
    assert heard == [False, True, False]


def test_a_change_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    health = Health()
    for _ in range(3):
        health.set("nats", False, "disconnected")
    assert capsys.readouterr().out.count("disconnected") == 1


def test_readiness_is_a_metric() -> None:
    registry = make_registry("worker")
    health = Health(ChassisMetrics(registry))
    assert registry.get_sample_value("tidegate_ready") == 0
    health.set("nats", True)
    assert registry.get_sample_value("tidegate_ready") == 1


def test_the_build_is_a_metric() -> None:
    families = {family.name: family for family in make_registry("worker").collect()}
    (sample,) = families["tidegate_build_info"].samples
    assert sample.labels["service"] == "worker"
    assert sample.labels["version"]
    assert "process_resident_memory_bytes" in families


def test_what_is_watched_says_why_the_process_is_of_no_use() -> None:
    health, why = Health(), ["", ""]
    health.watch(lambda: why[0])
    health.watch(lambda: why[1])
    assert health.stuck == ""
    why[:] = ["one", "other"]
    assert health.stuck == "one; other"


async def test_a_process_that_is_stuck_fails_its_liveness_probe() -> None:
    """Readiness alone would leave it there for ever."""
    health, why = Health(), [""]
    health.watch(lambda: why[0])
    app = health_app(health, make_registry("operator"))
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/livez")).status == 200
        why[0] = "three pools are not looked at"
        answer = await client.get("/livez")
        assert answer.status == 503
        assert "three pools" in await answer.text()
