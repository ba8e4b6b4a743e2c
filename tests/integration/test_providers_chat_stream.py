"""The model client on real sockets: what it takes for a whole answer, and how it lets go."""

import asyncio
from typing import Any

import pytest

from tests.support.provider_world import (
    HEADERS,
    PATIENT,
    Provider,
    Script,
    answering,
    scripted,
    simulated,
    text_chunk,
)
from tests.support.worker_world import MESSAGES
from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Usage
from tidegate.providers.errors import ErrorKind, ProviderError
from tidegate.providers.routes import Timeouts
from tidegate.simulator.answer import answer

HURRIED = Timeouts(connect=2, first_token=0.3, between_tokens=0.3, total=20)


async def test_the_answer_usage_and_finish_reason_are_the_providers() -> None:
    async with simulated() as provider:
        result = await provider.ask(tokens=30)
        assert provider.text == answer(1, MESSAGES, 30).text()
        assert result.finish_reasons == ["length"]
        assert result.usage == Usage(input_tokens=10, output_tokens=30)


async def test_calls_in_a_row_share_a_connection() -> None:
    """Else each would pay for a new one, with its TLS handshake."""
    whole = answering(text_chunk("a", "stop"), b"data: [DONE]\n\n")
    async with scripted(whole) as provider:
        for _ in range(3):
            await provider.ask()
        assert provider.connections == 1


async def test_the_call_says_which_job_it_is_for() -> None:
    """Else a provider's own logs could not be joined with ours."""
    heads: list[bytes] = []

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.lower())
        await answering(text_chunk("a", "stop"), b"data: [DONE]\n\n")(head, writer)

    async with scripted(script) as provider:
        await provider.ask()
    for name, value in HEADERS.items():
        assert f"\r\n{name}: {value}\r\n".encode() in heads[0]
    assert b"\r\nauthorization:" not in heads[0]


async def test_the_key_goes_with_the_call_and_a_wrong_one_is_named_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIM_KEY", "right")
    async with simulated(route={"api_key_env": "SIM_KEY"}, api_key="right") as provider:
        await provider.ask()
        monkeypatch.setenv("SIM_KEY", "wrong")
        assert (await failure(provider)).reason == Reason.PROVIDER_CREDENTIALS
        monkeypatch.delenv("SIM_KEY")
        assert (await failure(provider)).reason == Reason.PROVIDER_CREDENTIALS


async def failure(provider: Provider, **call: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.ask(**call)
    assert "tide" not in caught.value.message
    return caught.value


def misbehaving(header: str) -> dict[str, str]:
    return HEADERS | {"x-simulator": header}


@pytest.mark.parametrize(
    ("behaviour", "reason", "retriable"),
    [
        ("fail=429;retry_after=7", Reason.PROVIDER_RATE_LIMITED, True),
        ("fail=500", Reason.PROVIDER_UNAVAILABLE, True),
        ("fail=400", Reason.PROVIDER_REFUSED, False),
        ("cut_after=3", Reason.PROVIDER_STREAM_CUT, True),
        ("end_after=3", Reason.PROVIDER_STREAM_CUT, True),
        ("end_after=0", Reason.PROVIDER_STREAM_CUT, True),
        ("error_after=3", Reason.PROVIDER_UNAVAILABLE, True),
        ("stall_after=3;stall_s=60", Reason.PROVIDER_TIMEOUT, True),
        ("ttft=60", Reason.PROVIDER_TIMEOUT, True),
    ],
)
async def test_each_way_of_failing_has_its_reason(
    behaviour: str, reason: Reason, retriable: bool
) -> None:
    """Above all: what was cut is never taken for a whole answer."""
    async with simulated(HURRIED) as provider:
        error = await failure(provider, headers=misbehaving(behaviour))
        assert (error.reason, error.retriable) == (reason, retriable)
        assert error.retry_after == (7 if "429" in behaviour else None)
        stats = await provider.stats(idle_within="5")
        assert stats["running"] == 0


async def test_a_whole_call_has_its_time_too() -> None:
    """An answer that trickles for ever would hold its slot for ever."""
    timeouts = Timeouts(connect=2, first_token=5, between_tokens=5, total=0.4)
    async with simulated(timeouts, tokens_per_second=20) as provider:
        error = await failure(provider, tokens=1000)
        assert error.reason == Reason.PROVIDER_TIMEOUT
        assert provider.deltas


async def test_nobody_there(free_port: int) -> None:
    provider = Provider(f"http://127.0.0.1:{free_port}")
    assert (await failure(provider)).reason == Reason.PROVIDER_UNAVAILABLE
    await provider.endpoint.close()


@pytest.mark.parametrize("tokens_before", [0, 5])
async def test_cancelling_closes_the_connection_at_once(tokens_before: int) -> None:
    """A provider bills what it goes on to generate for nobody."""
    ttft = 0.01 if tokens_before else 60
    async with simulated(ttft_seconds=ttft, tokens_per_second=100) as provider:
        call = asyncio.create_task(provider.ask(tokens=100_000))
        await provider.until_deltas(tokens_before)
        while not (await provider.stats())["running"]:
            await asyncio.sleep(0.005)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert call.cancelled()
        stats = await provider.stats(idle_within="5")
        assert (stats["aborted"], stats["running"]) == (1, 0)


async def test_an_error_of_the_taker_closes_the_connection() -> None:
    """A log that was lost, or is full, must not leave the model talking."""

    class FullError(Exception):
        pass

    def refuse(_: object) -> None:
        raise FullError

    async with simulated(tokens_per_second=100) as provider:
        with pytest.raises(FullError):
            await provider.client.stream(
                provider.target,
                b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":10000}',
                refuse,
                headers={},
            )
        assert (await provider.stats(idle_within="5"))["aborted"] == 1


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([text_chunk("tide"), text_chunk("", "stop"), DONE], id="as OpenAI does"),
        pytest.param([text_chunk("tide", "stop")], id="finish reason, no [DONE]"),
        pytest.param([text_chunk("tide"), DONE], id="[DONE], no finish reason"),
        pytest.param([text_chunk("tide"), b"data: [DONE]"], id="[DONE] without an end"),
        pytest.param([text_chunk("tide")[:20], text_chunk("tide")[20:], DONE], id="cut"),
        pytest.param([b": hb\n\n", text_chunk("tide"), b": hb\n", DONE], id="heartbeats"),
        pytest.param(
            [text_chunk("tide").replace(b"\n", b"\r\n"), DONE.replace(b"\n", b"\r\n")], id="CRLF"
        ),
    ],
)
async def test_a_whole_answer_in_each_dialect(parts: list[bytes]) -> None:
    async with scripted(answering(*parts)) as provider:
        result = await provider.ask()
        assert provider.text == "tide"
        assert result.usage is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (answering(text_chunk("tide"), b"data: {oops\n\n"), Reason.PROVIDER_STREAM_CUT),
        (answering(text_chunk("tide"), text_chunk("s")[:-9]), Reason.PROVIDER_STREAM_CUT),
        (answering(b"{}", content_type="application/json"), Reason.PROVIDER_UNAVAILABLE),
        (answering(b"<p>", content_type="text/html"), Reason.PROVIDER_UNAVAILABLE),
        (answering(), Reason.PROVIDER_STREAM_CUT),
    ],
)
async def test_what_is_no_whole_answer(script: Any, reason: Reason) -> None:
    async with scripted(script) as provider:
        assert (await failure(provider)).reason == reason


async def test_a_connection_closed_without_an_answer_is_no_time_out() -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with scripted(script) as provider:
        assert (await failure(provider)).reason == Reason.PROVIDER_UNAVAILABLE


async def test_a_call_into_a_connection_that_was_just_closed_may_be_repeated() -> None:
    """Connections are kept longer than some servers keep them."""
    served = 0

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served == 2:
            raise ConnectionError
        await answering(text_chunk("tide", "stop"), DONE)(head, writer)

    async with scripted(script) as provider:
        await provider.ask()
        error = await failure(provider)
        assert (error.reason, error.kind) == (Reason.PROVIDER_UNAVAILABLE, ErrorKind.RETRIABLE)
        await provider.ask()
        assert provider.connections == 2


def answers(status: int, body: bytes, content_type: str) -> Script:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n"
        writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return script


PAGE = b"<html><title>tide</title></html>"


@pytest.mark.parametrize(
    ("script", "reason", "kind"),
    [
        (answers(200, PAGE, "text/html"), Reason.PROVIDER_UNAVAILABLE, ErrorKind.RETRIABLE),
        (answers(200, PAGE, "text/plain"), Reason.PROVIDER_STREAM_CUT, ErrorKind.RETRIABLE),
        (answers(502, PAGE, "text/html"), Reason.PROVIDER_UNAVAILABLE, ErrorKind.RETRIABLE),
        (answers(400, PAGE, "text/html"), Reason.PROVIDER_REFUSED, ErrorKind.CALLER),
        (answers(404, PAGE, "text/html"), Reason.PROVIDER_MISCONFIGURED, ErrorKind.TARGET),
        (answers(400, b"[" * 60_000, "x/json"), Reason.PROVIDER_REFUSED, ErrorKind.CALLER),
        (answers(302, b"", "text/html"), Reason.PROVIDER_MISCONFIGURED, ErrorKind.TARGET),
    ],
)
async def test_pages_of_proxies_are_typed_errors(
    script: Script, reason: Reason, kind: ErrorKind
) -> None:
    async with scripted(script) as provider:
        error = await failure(provider)
        assert (error.reason, error.kind) == (reason, kind)


async def test_an_error_without_end_does_not_fill_the_memory() -> None:
    sent = 0

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 500 X\r\nContent-Type: text/html\r\n\r\n")
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()
            sent += 10_000

    async with scripted(script) as provider:
        error = await failure(provider)
        assert error.reason is Reason.PROVIDER_UNAVAILABLE
    # What the network holds is beyond it, but no more than that.
    assert sent < 50_000_000


async def test_an_answer_is_whole_though_its_connection_never_ends() -> None:
    """Servers exist that keep it open after [DONE]; the caller must not wait for a time-out."""
    ended = asyncio.Event()

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        body = text_chunk("tide", "stop") + DONE
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body)
        await ended.wait()

    async with scripted(script, PATIENT) as provider:
        result = await provider.ask()
        ended.set()
        assert (provider.text, result.finish_reasons) == ("tide", ["stop"])


async def test_heartbeats_are_no_tokens() -> None:
    """A provider that only says it is alive must not hold a slot for ever."""

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b": processing\n\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with scripted(script, HURRIED) as provider:
        assert (await failure(provider)).reason == Reason.PROVIDER_TIMEOUT
