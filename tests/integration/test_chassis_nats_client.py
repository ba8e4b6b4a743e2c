"""What a listener would miss, and what would come twice or never, if shortcuts leaked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy, Way
from tidegate.chassis.nats_client import NatsClient


class Heard:
    """A listener that keeps what it hears, and fails where it is told to."""

    def __init__(self) -> None:
        self.messages: list[Msg] = []
        self.news = asyncio.Event()

    def __call__(self, message: Msg) -> None:
        self.messages.append(message)
        self.news.set()
        if message.data == b"fail":
            raise ValueError("as told")

    async def has(self, count: int) -> list[Msg]:
        """All of them, once there are so many."""
        async with asyncio.timeout(20):
            while len(self.messages) < count:
                self.news.clear()
                await self.news.wait()
        return self.messages


@asynccontextmanager
async def client(url: str, errors: list[Exception]) -> AsyncIterator[NatsClient]:
    async def failed(error: Exception) -> None:
        errors.append(error)

    it = NatsClient()
    await it.connect(url, error_cb=failed, reconnect_time_wait=0.05, max_reconnect_attempts=-1)  # type: ignore[arg-type]
    try:
        yield it
    finally:
        await it.close()


async def test_a_listener_hears_all_in_order_with_headers(nats_server: NatsServer) -> None:
    async with client(nats_server.url, []) as it:
        heard = Heard()
        await it.listen("some.*", heard)
        for number in range(1000):
            headers = {"Number": str(number)} if number % 2 else None
            await it.publish(f"some.{number % 7}", b"%d" % number, reply="r", headers=headers)
        messages = await heard.has(1000)
    assert [int(message.data) for message in messages] == list(range(1000))
    assert [message.headers for message in messages[:2]] == [None, {"Number": "1"}]
    assert {message.reply for message in messages} == {"r"}


async def test_a_listener_that_fails_is_told_of_and_hears_the_next(nats_server: NatsServer) -> None:
    errors: list[Exception] = []
    async with client(nats_server.url, errors) as it:
        heard = Heard()
        await it.listen("some", heard)
        for data in (b"fail", b"next"):
            await it.publish("some", data)
        await heard.has(2)
    assert [type(error) for error in errors] == [ValueError]


async def test_a_listener_hears_after_a_restart_and_not_after_its_end(
    nats_server: NatsServer,
) -> None:
    async with client(nats_server.url, []) as it:
        heard, other = Heard(), Heard()
        subscription = await it.listen("some", heard)
        await it.listen("some", other)
        await nats_server.kill()
        await nats_server.start()
        while not (it.is_connected and it.stats["reconnects"]):
            await asyncio.sleep(0.02)
        await it.publish("some", b"again")
        await heard.has(1)
        await subscription.unsubscribe()
        await it.publish("some", b"more")
        await other.has(2)
        assert len(heard.messages) == 1


async def test_a_server_that_does_not_read_holds_back_what_is_published(
    nats_server: NatsServer,
) -> None:
    """What waits is counted, so that a publisher can see it; and all of it comes, once."""
    async with (
        TcpProxy(nats_server.port) as proxy,
        client(f"nats://127.0.0.1:{proxy.port}", []) as sender,
        client(nats_server.url, []) as receiver,
    ):
        heard = Heard()
        await receiver.listen("big", heard)
        await receiver.flush()
        proxy.hold(Way.UP)
        for number in range(300):
            await sender.publish("big", b"%06d" % number + bytes(100_000))
            await asyncio.sleep(0)
        assert sender.pending_data_size > 1_000_000
        proxy.release(Way.UP)
        messages = await heard.has(300)
        await sender.flush()
        assert sender.pending_data_size == 0
    assert [int(message.data[:6]) for message in messages] == list(range(300))


async def test_what_a_flush_has_seen_off_has_arrived(nats_server: NatsServer) -> None:
    """A drain relies on it: what was on its way before the answer came before the answer."""
    async with client(nats_server.url, []) as it:
        heard = Heard()
        await it.listen("some", heard)
        for number in range(1, 50):
            await it.publish("some", b"x")
            await it.flush()
            assert len(heard.messages) == number


async def test_a_connection_that_breaks_under_a_publisher_is_no_fault(
    nats_server: NatsServer,
) -> None:
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with (
        TcpProxy(nats_server.port) as proxy,
        client(f"nats://127.0.0.1:{proxy.port}", []) as it,
    ):
        for number in range(5):
            proxy.cut()
            while it.is_connected:
                await it.publish("some", b"x")
                await asyncio.sleep(0)
            while it.stats["reconnects"] <= number:
                await asyncio.sleep(0.02)
    assert faults == []
