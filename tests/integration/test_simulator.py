"""The simulator as its clients meet it: over HTTP, with the stock `openai` package.

Whoever develops against the simulator loses a bug to production for every way in which it differs
from a provider; whoever measures with it, for every call it miscounts.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import SecretStr

from tidegate.chassis.health import Health
from tidegate.chassis.lifecycle import Lifecycle
from tidegate.chassis.metrics import make_registry
from tidegate.chassis.settings import ListenAddress
from tidegate.simulator.app import make_server
from tidegate.simulator.settings import SimulatorSettings

USER: Any = [{"role": "user", "content": "When does the tide turn?"}]


class Simulator:
    """A running simulator: its address, and its control API."""

    def __init__(self, address: ListenAddress, session: aiohttp.ClientSession) -> None:
        self.url = f"http://{address}"
        self._session = session

    def client(self, **options: Any) -> AsyncOpenAI:
        defaults: dict[str, Any] = {"api_key": "any", "max_retries": 0}
        return AsyncOpenAI(base_url=f"{self.url}/v1", **(defaults | options))

    async def get(self, path: str, **query: str) -> Any:
        async with self._session.get(self.url + path, params=query) as answer:
            assert answer.status == 200
            return await answer.json()

    async def idle(self, **query: str) -> Any:
        """The account once no call runs any more."""
        stats = await self.get("/stats", idle_within="20", **query)
        assert stats["running"] == 0
        return stats

    async def fault(self, **fields: Any) -> int:
        async with self._session.post(f"{self.url}/faults", json=fields) as answer:
            return answer.status

    async def refusal(self, path: str) -> tuple[int, str]:
        async with self._session.get(self.url + path) as answer:
            return answer.status, (await answer.json())["error"]["param"]

    async def post(self, path: str, body: bytes) -> tuple[int, Any, Any]:
        async with self._session.post(self.url + path, data=body) as answer:
            return answer.status, await answer.json(), answer.headers


async def started(**changes: Any) -> AsyncIterator[Simulator]:
    values: dict[str, Any] = {
        "simulator_listen": ListenAddress("127.0.0.1:0"),
        "simulator_ttft_seconds": 0.0,
        "simulator_tokens_per_second": 2000.0,
        "drain_seconds": 2.0,
    }
    settings = SimulatorSettings(**(values | changes))
    health = Health()
    server = make_server(settings, health, make_registry("simulator"))
    lifecycle = Lifecycle(settings, health)
    lifecycle.add(server)
    async with lifecycle, aiohttp.ClientSession() as session:
        yield Simulator(server.address, session)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async for running in started():
        yield running


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with simulator.client() as client:
        yield client


async def stream(client: AsyncOpenAI, header: str = "", **fields: Any) -> list[ChatCompletionChunk]:
    chunks = await client.chat.completions.create(
        model="sim-small",
        messages=USER,
        stream=True,
        extra_headers={"x-simulator": header},
        **fields,
    )
    return [chunk async for chunk in chunks]


async def read_into(
    seen: list[ChatCompletionChunk], chunks: AsyncIterable[ChatCompletionChunk]
) -> None:
    async for chunk in chunks:
        seen.append(chunk)  # noqa: PERF401 - an exception must not lose what came before it


def text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def test_a_stream_has_role_tokens_finish_and_usage(client: AsyncOpenAI) -> None:
    chunks = await stream(client, max_tokens=12, stream_options={"include_usage": True})
    assert len(chunks) == 1 + 12 + 1 + 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.content for chunk in chunks[1:13])
    assert chunks[13].choices[0].finish_reason == "length"
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 14
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (10, 12, 22)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


async def test_without_a_limit_the_model_stops_by_itself(client: AsyncOpenAI) -> None:
    chunks = await stream(client)
    assert 30 <= len(chunks) - 2 <= 120
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert text(chunks).endswith(".")


async def test_streamed_or_not_the_answer_is_the_same(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        model="sim-small", messages=USER, max_completion_tokens=15
    )
    assert whole.choices[0].message.content == text(await stream(client, max_tokens=15))
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 15


async def test_a_tool_is_called_the_same_streamed_or_not(client: AsyncOpenAI) -> None:
    parameters = {"type": "object", "properties": {"harbour": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "tide_at", "parameters": parameters}}
    fields: Any = {"model": "sim-small", "messages": USER, "tools": [tool]}
    whole = await client.chat.completions.create(**fields)
    async with client.chat.completions.stream(**fields) as events:
        streamed = await events.get_final_completion()
    for completion in (whole, streamed):
        assert completion.choices[0].finish_reason == "tool_calls"
    asked, heard = (each.choices[0].message.tool_calls or [] for each in (whole, streamed))
    functions: list[Any] = [each[0].to_dict()["function"] for each in (asked, heard)]
    assert [call.id for call in asked] == [call.id for call in heard]
    assert functions[0]["arguments"] == functions[1]["arguments"] != ""


async def test_the_synchronous_client_works_as_well(simulator: Simulator) -> None:
    def ask() -> tuple[int, str | None, int]:
        options: Any = {"model": "sim-small", "messages": USER, "max_tokens": 5}
        with OpenAI(base_url=f"{simulator.url}/v1", api_key="any", max_retries=0) as client:
            chunks = sum(1 for _ in client.chat.completions.create(stream=True, **options))
            whole = client.chat.completions.create(**options)
            vectors = client.embeddings.create(model="sim-embedding", input=["a", "b"])
        return chunks, whole.choices[0].finish_reason, len(vectors.data)

    assert await asyncio.to_thread(ask) == (7, "length", 2)


async def test_embeddings_are_unit_vectors_in_either_encoding(client: AsyncOpenAI) -> None:
    floats = await client.embeddings.create(
        model="sim-embedding", input=["the tide"], dimensions=256, encoding_format="float"
    )
    packed = await client.embeddings.create(model="sim-embedding", input="the tide", dimensions=256)
    vector = packed.data[0].embedding
    assert len(vector) == 256
    assert vector == pytest.approx(floats.data[0].embedding)
    assert sum(x * x for x in vector) == pytest.approx(1.0, rel=1e-5)
    assert packed.usage.prompt_tokens == 2


async def test_models_are_listed_those_that_chat_first(client: AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert names == ["sim-small", "sim-large", "sim-embedding"]
    assert (await client.models.retrieve("sim-large")).id == "sim-large"


async def test_an_unknown_model_is_a_typed_404(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await client.chat.completions.create(model="sim-embedding", messages=USER)
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_failures_on_demand_are_typed(
    client: AsyncOpenAI, status: int, kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind) as raised:
        await stream(client, f"fail={status};retry_after=1.5")
    after = raised.value.response.headers.get("retry-after")
    assert after == ("2" if status in (429, 503) else None)


async def test_errors_have_openais_body_and_a_request_id(simulator: Simulator) -> None:
    for path, body, status, param in [
        ("/v1/chat/completions", b"{", 400, None),
        ("/v1/chat/completions", b'{"model":"sim-small","messages":[]}', 400, "messages"),
        ("/v1/embeddings", b'{"model":"sim-embedding","input":[]}', 400, "input"),
        ("/v1/nothing", b"{}", 404, None),
        ("/v1/models", b"{}", 405, None),
    ]:
        got, answer, headers = await simulator.post(path, body)
        assert (got, answer["error"]["param"]) == (status, param)
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        assert headers["x-request-id"]


async def test_a_posted_fault_meets_the_next_calls_and_no_more(
    simulator: Simulator, client: AsyncOpenAI
) -> None:
    assert await simulator.fault(fail=503, calls=2) == 200
    async with simulator.client(max_retries=2) as patient:
        assert len(await stream(patient, "retry_after=0", max_tokens=3)) == 5
    stats = await simulator.idle()
    assert stats["failed_by_kind"] == {"503": 2}
    assert [call["retry_count"] for call in stats["calls"]] == [0, 1, 2]
    assert (await simulator.get("/faults")) == {"faults": []}


async def test_a_fault_that_makes_no_sense_is_refused(simulator: Simulator) -> None:
    assert await simulator.fault(colour="red") == 400
    assert await simulator.fault(fail=200) == 400


async def test_a_question_that_makes_no_sense_is_refused(simulator: Simulator) -> None:
    for query in ("limit=-1", "limit=x", "idle_within=nan"):
        status, param = await simulator.refusal(f"/stats?{query}")
        assert (status, param) == (400, query.split("=")[0])


async def test_a_cut_reaches_the_client_as_a_broken_connection(
    simulator: Simulator, client: AsyncOpenAI
) -> None:
    chunks = await client.chat.completions.create(
        model="sim-small",
        messages=USER,
        stream=True,
        extra_headers={"x-simulator": "cut_after=5", "x-tidegate-job": "job-1"},
    )
    seen: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIConnectionError):
        await read_into(seen, chunks)
    assert len(seen) == 6
    [call] = (await simulator.idle(job="job-1"))["calls"]
    assert (call["outcome"], call["kind"], call["tokens_sent"]) == ("failed", "cut", 5)


async def test_an_answer_in_one_piece_can_be_cut_too(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(
            model="sim-small", messages=USER, extra_headers={"x-simulator": "cut_after=0"}
        )


async def test_an_error_in_mid_stream_is_raised_by_the_client(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError, match="server had an error"):
        await stream(client, "error_after=2")


async def test_a_stream_can_end_without_a_word(client: AsyncOpenAI) -> None:
    """The trap for readers that take the end of the body for the end of the answer."""
    chunks = await stream(client, "end_after=4")
    assert len(chunks) == 5
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)


async def test_a_client_that_goes_is_counted_within_a_token(simulator: Simulator) -> None:
    async with simulator.client() as client:
        chunks = await client.chat.completions.create(
            model="sim-small",
            messages=USER,
            stream=True,
            extra_headers={"x-simulator": "stall_after=3;stall_s=60", "x-request-id": "gone"},
        )
        seen = 0
        async for _ in chunks:
            seen += 1
            if seen == 4:
                break
        await chunks.close()
        [call] = (await simulator.idle(request_id="gone"))["calls"]
    assert (call["outcome"], call["stalled"], call["tokens_sent"]) == ("aborted", True, 3)


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_goes_before_the_first_token_is_counted(
    simulator: Simulator, client: AsyncOpenAI, streamed: bool
) -> None:
    asking = (
        asyncio.create_task(stream(client, "ttft=60"))
        if streamed
        else asyncio.create_task(
            client.chat.completions.create(
                model="sim-small", messages=USER, extra_headers={"x-simulator": "ttft=60"}
            )
        )
    )
    while not (await simulator.get("/stats"))["running"]:
        assert not asking.done()
    asking.cancel()
    await asyncio.wait([asking])
    stats = await simulator.idle()
    assert (stats["aborted"], stats["tokens_sent"], stats["failed"]) == (1, 0, 0)


async def test_every_call_is_accounted_for(simulator: Simulator, client: AsyncOpenAI) -> None:
    await asyncio.gather(*(stream(client, "ttft=0.2", max_tokens=20) for _ in range(30)))
    stats = await simulator.idle()
    assert (stats["started"], stats["completed"], stats["tokens_sent"]) == (30, 30, 600)
    assert stats["most_running"] > 1
    assert len((await simulator.get("/stats", limit="7"))["calls"]) == 7
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{simulator.url}/metrics") as answer:
            page = await answer.text()
        await session.delete(f"{simulator.url}/stats")
    assert "tidegate_simulator_tokens_total 600.0" in page
    assert (await simulator.get("/stats"))["started"] == 0


async def test_the_key_is_asked_for_where_one_is_set() -> None:
    async for simulator in started(simulator_api_key=SecretStr("right")):
        async with simulator.client(api_key="right") as client:
            assert await stream(client, max_tokens=1)
        async with simulator.client(api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await stream(client)
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        assert (await simulator.idle())["failed_by_kind"] == {"401": 1}


async def test_settings_alone_can_make_it_fail() -> None:
    async for simulator in started(simulator_rate_limit_rate=1.0):
        async with simulator.client() as client:
            with pytest.raises(openai.RateLimitError):
                await stream(client)
            assert await stream(client, "rate_limit_rate=0", max_tokens=1)


async def test_health_is_on_the_same_port(simulator: Simulator) -> None:
    assert (await simulator.get("/readyz"))["ready"] is True
