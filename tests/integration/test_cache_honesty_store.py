"""What processes learn of hits, on a real server. Who lost this would forget what was wrong."""

import asyncio

from prometheus_client import CollectorRegistry

from tests.support.log_world import LogPeer, LogWorld
from tests.support.nats_server import NatsServer
from tidegate.cache.honesty import SHADOW_RIGHT, SHADOW_WRONG, HonestyPolicy, Record
from tidegate.cache.honesty_book import HonestyBook
from tidegate.cache.honesty_store import HonestyAwayError, HonestyStore
from tidegate.cache.metrics import JudgementMetrics
from tidegate.chassis.component import Deadline
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.subjects import HONESTY_STREAM, honesty_subject

LAX = HonestyPolicy(max_wrong=0.9)


def book(peer: LogPeer, policy: HonestyPolicy = LAX) -> HonestyBook:
    store = HonestyStore(peer.jetstream)
    metrics = JudgementMetrics(CollectorRegistry())
    return HonestyBook(store, TaskGuard(), policy, metrics, threshold=0.92, embedder=lambda: "e")


async def kept(peer: LogPeer, tenant: str = "acme") -> Record | None:
    return (await HonestyStore(peer.jetstream).last(tenant)).record


async def test_no_judgement_is_lost_or_counted_twice(world: LogWorld) -> None:
    """Three processes count at the same time, each fencing the others."""
    books = [book(world) for _ in range(3)]
    for each in books:
        await each.start()

    async def count(each: HonestyBook) -> None:
        for number in range(20):
            each.tell("acme", SHADOW_WRONG if number % 4 == 0 else SHADOW_RIGHT)
            await asyncio.sleep(0)

    await asyncio.gather(*map(count, books))
    for each in books:
        await each.stop(Deadline(20))
    record = await kept(world)
    assert record is not None
    assert (record.right, record.wrong) == (45, 15)


async def test_a_breach_is_written_down_once(world: LogWorld) -> None:
    books = [book(world, HonestyPolicy()) for _ in range(2)]
    for each in books:
        for _ in range(10):
            each.tell("acme", SHADOW_WRONG)
        await each.stop(Deadline(5))
    record = await kept(world)
    assert record is not None
    assert (record.steps, record.judged) == (1, 0)
    info = await world.jetstream.api(f"STREAM.INFO.{HONESTY_STREAM}")
    assert info["state"]["messages"] == 1


async def test_what_nobody_can_read_is_as_if_it_were_not_there(world: LogWorld) -> None:
    """An operator forgets what is known of a tenant by an empty message."""
    await world.jetstream.publish(honesty_subject("acme"), b"", {})
    made = book(world)
    await made.start()
    assert made.record("acme").judged == 0
    made.tell("acme", SHADOW_RIGHT)
    await made.stop(Deadline(5))
    record = await kept(world)
    assert record is not None
    assert record.right == 1


async def test_a_server_that_comes_late_is_told_all(nats_server: NatsServer) -> None:
    async with LogWorld(nats_server.url) as world:
        made = book(world)
        await made.start()
        await nats_server.kill()
        made.tell("acme", SHADOW_RIGHT)
        assert made.record("acme").right == 1
        await nats_server.start()
        while (record := await _try(world)) is None or record.right == 0:
            await asyncio.sleep(0.05)
        await made.stop(Deadline(5))


async def _try(world: LogWorld) -> Record | None:
    try:
        return await kept(world)
    except HonestyAwayError:
        return None


async def test_what_a_newer_release_wrote_stays(world: LogWorld) -> None:
    """While releases are mixed, the older one must not undo what the newer one has learnt."""
    newer = b'{"threshold":0.92,"embedder":"e","steps":"as a newer one writes them","v":2}'
    await world.jetstream.publish(honesty_subject("acme"), newer, {})
    made = book(world)
    await made.start()
    made.tell("acme", SHADOW_RIGHT)
    await made.stop(Deadline(5))
    stored = await world.jetstream.last(HONESTY_STREAM, honesty_subject("acme"))
    assert stored is not None
    assert stored.payload == newer
    assert made.record("acme").right == 1


async def test_a_stream_that_was_emptied_is_written_to_again(world: LogWorld) -> None:
    made = book(world)
    for _ in range(3):
        made.tell("acme", SHADOW_RIGHT)
        await made.stop(Deadline(5))
    await world.jetstream.api(f"STREAM.PURGE.{HONESTY_STREAM}")
    made.tell("acme", SHADOW_WRONG)
    await made.stop(Deadline(5))
    record = await kept(world)
    assert record is not None
    assert (record.right, record.wrong) == (0, 1)
