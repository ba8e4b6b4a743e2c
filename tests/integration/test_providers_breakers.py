"""Breakers of several processes on a real NATS server: of one mind, and one probe between them."""

import asyncio

import msgspec
import pytest

from tests.support.breaker_fleet import DOWN, Member, ask_all, fleet
from tests.support.log_world import LogWorld, wait_until
from tests.support.nats_frames import MessageFilter
from tests.support.nats_server import NatsServer
from tests.support.tcp_proxy import TcpProxy, Way
from tidegate.contracts.subjects import BREAKERS_STREAM, breaker_subject
from tidegate.providers import breakers
from tidegate.providers.breaker import Circuit
from tidegate.providers.routes import Target

# A name with all that a subject must not hold.
TARGET = Target("api.example.com", "http://x/v1", "org/model:large *>")
LONG = 600.0


async def stored(world: LogWorld) -> Circuit:
    message = await world.jetstream.last(BREAKERS_STREAM, breaker_subject(*TARGET.key))
    assert message is not None
    return msgspec.json.decode(message.payload, type=Circuit)


async def test_what_one_has_found_out_all_know(world: LogWorld, nats_server: NatsServer) -> None:
    async with fleet(nats_server.url, 3, open=LONG, longest_open=LONG, longest_asked=LONG) as all_:
        await all_[0].trip(TARGET)
        for member in all_:
            await member.until_open(TARGET)
        await all_[0].until_stored(TARGET)
        assert await ask_all(all_, TARGET, 5) == []
        breakers_of_one = all_[1].breakers
        assert breakers_of_one.all_open([TARGET])
        assert not breakers_of_one.all_open([TARGET, Target("another", TARGET.base_url, "m")])
        assert not breakers_of_one.all_open([])
        # And who comes later.
        async with Member(nats_server.url) as late:
            assert late.is_open(TARGET)


async def test_of_all_that_ask_at_once_one_makes_the_probe(
    world: LogWorld, nats_server: NatsServer
) -> None:
    """And another only when that has failed; and all may call once one was answered."""
    async with fleet(nats_server.url, 3, open=0.1, longest_open=0.1, lease=LONG) as members:
        await members[0].trip(TARGET)
        for _ in range(10):
            for member in members:
                await member.until_open(TARGET)
            await asyncio.gather(*(m.breakers.until_callable([TARGET], LONG) for m in members))
            # It may be called, but nobody knows yet that it answers.
            assert all(member.breakers.all_open([TARGET]) for member in members)
            (probe,) = await ask_all(members, TARGET, 4)
            assert await ask_all(members, TARGET, 4) == []
            probe.failed(DOWN)
        await asyncio.gather(*(m.breakers.until_callable([TARGET], LONG) for m in members))
        (probe,) = await ask_all(members, TARGET, 4)
        probe.answering()
        for member in members:
            await member.until_closed(TARGET)
            assert not member.breakers.all_open([TARGET])
        assert len(await ask_all(members, TARGET, 2)) == 6
        claims = [
            member.sample("tidegate_breaker_transitions_total", TARGET, to="half_open")
            for member in members
        ]
        assert sum(claims) == 11


async def test_a_probe_whose_owner_died_is_made_by_another_after_its_lease(
    world: LogWorld, nats_server: NatsServer
) -> None:
    async with fleet(nats_server.url, 3, open=0.1, lease=3.0) as members:
        await members[0].trip(TARGET)
        await members[0].breakers.until_callable([TARGET], LONG)
        assert await members[0].ask(TARGET)
        await members[0].die()
        others = members[1:]
        for member in others:
            await member.until_open(TARGET)
        await asyncio.gather(*(m.breakers.until_callable([TARGET], LONG) for m in others))
        (probe,) = await ask_all(others, TARGET, 4)
        probe.succeeded()
        for member in others:
            await member.until_closed(TARGET)


async def test_a_probe_that_takes_its_time_stays_the_only_one(
    world: LogWorld, nats_server: NatsServer
) -> None:
    """Its lease is for the case that its owner died, not for its length."""
    async with fleet(nats_server.url, 2, open=0.1, lease=4.0) as members:
        await members[0].trip(TARGET)
        await members[0].breakers.until_callable([TARGET], LONG)
        probe = await members[0].ask(TARGET)
        assert probe is not None
        ends = (await stored(world)).until
        while (await stored(world)).until < ends + members[0].policy.lease:
            assert await ask_all(members, TARGET) == []
            await asyncio.sleep(0.05)
        probe.succeeded()
        await members[1].until_closed(TARGET)


async def test_a_probe_that_was_given_up_is_free_for_the_next(
    world: LogWorld, nats_server: NatsServer
) -> None:
    async with fleet(nats_server.url, 2, open=0.1, lease=LONG) as members:
        await members[0].trip(TARGET)
        await members[0].breakers.until_callable([TARGET], LONG)
        probe = await members[0].ask(TARGET)
        assert probe is not None
        await members[1].until_open(TARGET)
        probe.release()
        await members[1].breakers.until_callable([TARGET], LONG)
        assert len(await ask_all(members, TARGET, 3)) == 1


async def test_who_hears_nothing_reads(
    world: LogWorld, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers, "_VERIFY_SECONDS", 0.1)
    lost = MessageFilter(lambda subject: subject.startswith("breaker."))
    async with (
        TcpProxy(nats_server.port, filters=lambda way: lost if way is Way.DOWN else None) as proxy,
        fleet(nats_server.url, 1, open=0.1, longest_open=0.1) as (hearing,),
        Member(f"nats://127.0.0.1:{proxy.port}") as deaf,
    ):
        await hearing.trip(TARGET)
        await deaf.until_open(TARGET)
        await hearing.breakers.until_callable([TARGET], LONG)
        (probe,) = await ask_all([hearing], TARGET)
        probe.succeeded()
        await deaf.until_closed(TARGET)
        assert lost.lost >= 3


async def test_who_knows_nothing_yet_is_told_when_it_claims(
    world: LogWorld, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old news are corrected by the store, not by luck: the probe stays the only one."""
    monkeypatch.setattr(breakers, "_VERIFY_SECONDS", LONG)
    lost = MessageFilter(lambda subject: subject.startswith("breaker."))
    async with (
        TcpProxy(nats_server.port, filters=lambda way: lost if way is Way.DOWN else None) as proxy,
        fleet(nats_server.url, 1, open=0.1, lease=LONG) as (hearing,),
    ):
        await hearing.trip(TARGET)
        await hearing.until_stored(TARGET)
        async with Member(f"nats://127.0.0.1:{proxy.port}", lease=LONG) as deaf:
            await hearing.breakers.until_callable([TARGET], LONG)
            (probe,) = await ask_all([hearing], TARGET)
            await wait_until(lambda: lost.lost)
            assert not deaf.is_open(TARGET)
            assert await ask_all([deaf], TARGET, 3) == []
            probe.release()


async def test_without_nats_each_goes_by_what_it_sees_and_then_all_agree(
    world: LogWorld, nats_server: NatsServer
) -> None:
    async with fleet(nats_server.url, 2, open=0.1, longest_open=0.1) as members:
        await nats_server.kill()
        await members[0].trip(TARGET)
        assert not members[1].is_open(TARGET)
        await members[0].breakers.until_callable([TARGET], LONG)
        (probe,) = await ask_all(members[:1], TARGET, 3)
        probe.failed(DOWN)
        await members[1].trip(TARGET)
        assert members[0].registry.get_sample_value("tidegate_breaker_alone_total") == 1
        await nats_server.start()

        def of_one_mind() -> bool:
            """Both closed, and for the same reason: what the store has."""
            stored = {member.stored_at(TARGET) for member in members}
            states = [member.sample("tidegate_breaker_state", TARGET) for member in members]
            return len(stored) == 1 and 0 not in stored and not any(states)

        # One of them may be overruled by what the other stored first; then it asks again.
        while not of_one_mind():
            for probe in await ask_all(members, TARGET):
                probe.succeeded()
            await asyncio.sleep(0.02)
        await members[1].trip(TARGET)
        await members[0].until_open(TARGET)


async def test_without_the_bucket_each_goes_alone(nats_server: NatsServer) -> None:
    """An older release's streams, or those of a gateway that has not begun yet."""
    async with fleet(nats_server.url, 1, open=0.1) as (member,):
        await member.trip(TARGET)
        await member.breakers.until_callable([TARGET], LONG)
        (probe,) = await ask_all([member], TARGET, 3)
        probe.succeeded()
        await member.until_closed(TARGET)


async def test_an_operator_closes_it_by_deleting_its_key(
    world: LogWorld, nats_server: NatsServer
) -> None:
    async with fleet(nats_server.url, 2, open=LONG, longest_open=LONG) as members:
        await members[0].trip(TARGET)
        await members[1].until_open(TARGET)
        subject = breaker_subject(*TARGET.key)
        await members[0].until_stored(TARGET)
        await world.jetstream.publish(subject, b"", {"KV-Operation": "DEL"})
        for member in members:
            await member.until_closed(TARGET)
        await members[1].trip(TARGET)
        await members[0].until_open(TARGET)
