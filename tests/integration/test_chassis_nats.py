"""Without these an outage of NATS would need people to restart services, or go unseen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from pydantic import SecretStr

from tests.support.nats_server import NatsServer
from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.metrics import ChassisMetrics, make_registry
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.settings import NatsSettings
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.errors import Unavailable

USERS = """
authorization { users: [ {
    user: worker, password: secret
    permissions: {
        publish: ["allowed", "_INBOX_test.>"], subscribe: ["allowed", "_INBOX_test.>"]
    }
} ] }
"""


class Process:
    """A connection with what it needs around it."""

    def __init__(self, settings: NatsSettings) -> None:
        self.health = Health()
        self.guard = TaskGuard()
        self.registry = make_registry("test")
        metrics = ChassisMetrics(self.registry)
        self.connection = NatsConnection(settings, self.health, self.guard, metrics, service="test")

    async def until(self, ready: bool) -> None:
        """Wait for the readiness condition."""
        reached = asyncio.Event()
        self.health.subscribe(lambda now: reached.set() if now is ready else None)
        await reached.wait()


@asynccontextmanager
async def process(settings: NatsSettings) -> AsyncIterator[Process]:
    it = Process(settings)
    try:
        yield it
    finally:
        await it.connection.stop(Deadline(5))
        await it.guard.cancel_all()


Connect = Callable[[NatsSettings], Awaitable[Process]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes connections that end with the test."""
    async with AsyncExitStack() as stack:

        async def make(settings: NatsSettings) -> Process:
            it = await stack.enter_async_context(process(settings))
            await it.connection.start()
            return it

        yield make


def settings_for(server: NatsServer) -> NatsSettings:
    return NatsSettings(nats_url=server.url, nats_ping_interval_seconds=0.2)


async def test_a_server_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = NatsServer(tmp_path)
    async with process(settings_for(server)) as it:
        starting = asyncio.create_task(it.connection.start())
        refused = asyncio.Event()
        while not refused.is_set():
            if "cannot connect" in it.health.failing.get("nats", ""):
                refused.set()
            await asyncio.sleep(0.05)
        async with server:
            await starting
            assert it.health.ready
            assert it.connection.max_payload == 1024 * 1024
            await it.connection.stop(Deadline(5))
    assert capsys.readouterr().out.count("cannot connect") == 1


async def test_it_comes_back_as_often_as_the_server_dies(
    nats_server: NatsServer, connect: Connect
) -> None:
    it = await connect(settings_for(nats_server))
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(message: object) -> None:
        received.put_nowait(getattr(message, "data", b""))

    await it.connection.client.subscribe("allowed", cb=take)
    for number in range(3):
        await nats_server.kill()
        await it.until(ready=False)
        await nats_server.start()
        await it.until(ready=True)
        await it.connection.publish("allowed", b"%d" % number)
        assert await received.get() == b"%d" % number
    assert it.guard.fault is None
    assert it.registry.get_sample_value("tidegate_nats_reconnects_total") == 3


async def test_jetstream_goes_on_with_what_was_stored(
    nats_server: NatsServer, connect: Connect
) -> None:
    it = await connect(settings_for(nats_server))
    jetstream = it.connection.jetstream
    await jetstream.add_stream(name="S", subjects=["s"])
    await jetstream.publish("s", b"kept")
    await nats_server.restart()
    await it.until(ready=True)
    assert (await jetstream.get_msg("S", seq=1)).data == b"kept"


async def test_while_it_is_away_publishes_and_requests_fail_at_once(
    nats_server: NatsServer, connect: Connect
) -> None:
    it = await connect(settings_for(nats_server))
    await nats_server.kill()
    await it.until(ready=False)
    with pytest.raises(Unavailable):
        await it.connection.publish("allowed", b"x")
    with pytest.raises(Unavailable):
        await it.connection.request("allowed", b"x", timeout=30)


async def test_nobody_listening_is_known_at_once(nats_server: NatsServer, connect: Connect) -> None:
    it = await connect(settings_for(nats_server))
    with pytest.raises(Unavailable) as caught:
        await it.connection.request("nobody", timeout=30)
    assert isinstance(caught.value.__cause__, nats.errors.NoRespondersError)


async def test_a_frozen_server_is_noticed(nats_server: NatsServer, connect: Connect) -> None:
    it = await connect(settings_for(nats_server))
    nats_server.freeze()
    await it.until(ready=False)
    nats_server.thaw()
    await it.until(ready=True)


async def test_hooks_run_after_each_reconnect_until_removed(
    nats_server: NatsServer, connect: Connect
) -> None:
    it = await connect(settings_for(nats_server))
    runs: asyncio.Queue[int] = asyncio.Queue()

    async def hook() -> None:
        runs.put_nowait(1)
        raise Unavailable("gone again")

    remove = it.connection.on_reconnect(hook)
    assert runs.empty()
    await nats_server.restart()
    await runs.get()
    remove()
    await nats_server.restart()
    await it.until(ready=True)
    assert runs.empty()
    assert it.guard.fault is None, "a hook may find NATS gone again"


@pytest.mark.parametrize("what", ["publish", "subscribe"])
async def test_a_missing_permission_ends_the_process(
    tmp_path: Path, connect: Connect, what: str
) -> None:
    """Else it would show as time-outs for ever."""
    async with NatsServer(tmp_path, config=USERS, user="worker", password="secret") as server:
        it = await connect(settings_for(server))
        if what == "publish":
            await it.connection.publish("forbidden")
        else:
            await it.connection.client.subscribe("forbidden")
        fault = await it.guard.wait_fault()
        assert fault.name == "nats"
        assert "permissions violation" in fault.message.lower()
        assert "forbidden" in fault.message


async def test_a_hint_that_may_not_be_given_ends_nothing_and_is_not_repeated(
    tmp_path: Path, connect: Connect
) -> None:
    """Users of NATS may be of an older release: the platform works without hints."""
    async with NatsServer(tmp_path, config=USERS, user="worker", password="secret") as server:
        it = await connect(settings_for(server))
        await it.connection.hint("wake.default")
        await it.connection.flush(timeout=5)
        assert it.guard.fault is None
        sent = it.connection.client.stats["out_msgs"]
        await it.connection.hint("wake.other")
        assert it.connection.client.stats["out_msgs"] == sent
        # What is no hint is as grave as ever.
        await it.connection.publish("jobs.default")
        fault = await it.guard.wait_fault()
        assert "jobs.default" in fault.message


async def test_inboxes_are_the_services_own(tmp_path: Path, connect: Connect) -> None:
    async with NatsServer(tmp_path, config=USERS, user="worker", password="secret") as server:
        it = await connect(settings_for(server))

        async def answer(message: object) -> None:
            await message.respond(b"pong")  # type: ignore[attr-defined]

        await it.connection.client.subscribe("allowed", cb=answer)
        message = await it.connection.request("allowed", timeout=5)
        assert message.data == b"pong"
        assert it.guard.fault is None


async def test_wrong_credentials_end_the_process(tmp_path: Path) -> None:
    async with NatsServer(tmp_path, config=USERS) as server:
        settings = NatsSettings(
            nats_url=server.url, nats_user="worker", nats_password=SecretStr("wrong")
        )
        async with process(settings) as it:
            starting = asyncio.create_task(it.connection.start())
            fault = await it.guard.wait_fault()
            assert "authorization violation" in fault.message.lower()
            assert "wrong" not in fault.message
            starting.cancel()
            await asyncio.wait([starting])


async def test_a_password_from_a_file_is_used(tmp_path: Path, connect: Connect) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    async with NatsServer(tmp_path, config=USERS) as server:
        it = await connect(
            NatsSettings(nats_url=server.url, nats_user="worker", nats_password_file=file)
        )
        assert it.connection.client.is_connected


async def test_a_user_that_is_taken_away_ends_the_process(tmp_path: Path, connect: Connect) -> None:
    async with NatsServer(tmp_path, config=USERS, user="worker", password="secret") as server:
        it = await connect(settings_for(server))
        server.reload(USERS.replace("worker", "other"))
        fault = await it.guard.wait_fault()
        assert fault.name == "nats"


async def test_a_reconnect_loop_that_dies_ends_the_process(
    nats_server: NatsServer, connect: Connect
) -> None:
    """The library would stay disconnected for ever without a word."""
    it = await connect(settings_for(nats_server))
    await nats_server.kill()
    await it.until(ready=False)
    loop_of_library = it.connection.client._reconnection_task
    assert loop_of_library is not None
    loop_of_library.cancel()
    fault = await it.guard.wait_fault()
    assert "reconnect loop" in fault.message
