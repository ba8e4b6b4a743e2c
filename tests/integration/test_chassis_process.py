"""Without these a pod could be killed with work in hand, hang in its end, or fail in silence."""

import asyncio
import json
import signal
from typing import Any

import pytest

from tests.support.processes import python_process

SERVICE = """
import asyncio
from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health, serve_health
from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.metrics import ChassisMetrics, make_registry
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.settings import (
    DrainSettings, HealthSettings, LogSettings, NatsSettings, load_settings,
)


class Settings(LogSettings, NatsSettings, HealthSettings, DrainSettings):
    pass


class Work:
    name = "work"
    async def start(self): print("working", flush=True)
    async def stop(self, deadline):
        print("draining", flush=True)
        {on_stop}
        print("drained", flush=True)


async def main():
    settings = load_settings(Settings)
    configure_logs(settings, service="test")
    registry = make_registry("test")
    metrics = ChassisMetrics(registry)
    health = Health(metrics)
    lifecycle = Lifecycle(settings, health)
    nats = NatsConnection(settings, health, lifecycle.guard, metrics, service="test")
    lifecycle.add(serve_health(settings, health, registry), {parts})
    await lifecycle.run()


raise SystemExit(run_process(main))
"""
ANY_PORT = {"TIDEGATE_HEALTH_LISTEN": "127.0.0.1:0"}


def service(*, parts: str = "Work()", on_stop: str = "pass") -> str:
    return SERVICE.replace("{parts}", parts).replace("{on_stop}", on_stop)


async def until(process: asyncio.subprocess.Process, word: bytes) -> None:
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == word


async def rest(process: asyncio.subprocess.Process) -> tuple[bytes, list[dict[str, Any]]]:
    output, errors = await process.communicate()
    return output, [json.loads(line) for line in errors.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_ends_well(number: signal.Signals) -> None:
    async with python_process(service(), ANY_PORT) as process:
        await until(process, b"working")
        process.send_signal(number)
        output, lines = await rest(process)
    assert process.returncode == 0
    assert output == b"draining\ndrained\n"
    assert [line["event"] for line in lines].count("draining") == 1


async def test_a_second_signal_ends_it_at_once() -> None:
    script = service(on_stop="await asyncio.Event().wait()")
    async with python_process(script, ANY_PORT) as process:
        await until(process, b"working")
        process.terminate()
        await until(process, b"draining")
        process.terminate()
        output, _ = await rest(process)
    assert process.returncode == 128 + signal.SIGTERM
    assert output == b""


async def test_a_part_that_hangs_does_not_outlast_the_deadline() -> None:
    script = service(on_stop="await asyncio.Event().wait()")
    async with python_process(script, {**ANY_PORT, "TIDEGATE_DRAIN_SECONDS": "0.1"}) as process:
        await until(process, b"working")
        process.terminate()
        _, lines = await rest(process)
    assert process.returncode == 0
    assert [line["component"] for line in lines if line["event"] == "drain cut short"] == ["work"]


async def test_without_nats_it_waits_and_can_still_be_ended(free_port: int) -> None:
    environ = {**ANY_PORT, "TIDEGATE_NATS_URL": f"nats://127.0.0.1:{free_port}"}
    async with python_process(service(parts="nats, Work()"), environ) as process:
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []
        while not any("cannot connect" in line.get("reason", "") for line in lines):
            lines.append(json.loads(await process.stderr.readline()))
        process.terminate()
        output, later = await rest(process)
    assert process.returncode == 0
    assert output == b""
    told = [line for line in lines + later if "cannot connect" in (line.get("reason") or "")]
    assert len(told) == 1, "one line per change, not one per attempt"


async def test_a_bad_setting_ends_it_with_the_name_and_no_traceback() -> None:
    async with python_process(service(), {"TIDEGATE_HEALTH_LISTEN": "hunter2"}) as process:
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.startswith(b"TIDEGATE_HEALTH_LISTEN: ")
    assert b"hunter2" not in errors
    assert b"Traceback" not in errors


async def test_a_taken_port_ends_it_with_one_clear_line() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        environ = {"TIDEGATE_HEALTH_LISTEN": f"127.0.0.1:{port}"}
        async with python_process(service(), environ) as process:
            _, lines = await rest(process)
    assert process.returncode == 1
    (fault,) = [line for line in lines if line["level"] == "error"]
    assert f"cannot listen on 127.0.0.1:{port}" in fault["reason"]
