"""openai-py as it is installed, sync and async, strict about every field of every answer.

A user who changes the base URL loses whatever differs from OpenAI: an attribute that is None, an
exception of another type, a stream that ends in silence.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pydantic
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.support.clients import Door

pytestmark = pytest.mark.timeout(180)

USER: Any = [{"role": "user", "content": "When does the tide turn?"}]
HARBOUR = {"type": "object", "properties": {"harbour": {"type": "string"}}}
TOOLS: Any = [
    {"type": "function", "function": {"name": "tide_at", "parameters": HARBOUR}},
    {"type": "function", "function": {"name": "close_gate"}},
]


class Stock:
    """One of the two clients; `call` runs a method of either to its end."""

    def __init__(self, client: OpenAI | AsyncOpenAI) -> None:
        self.client = client
        self.who = "async" if isinstance(client, AsyncOpenAI) else "sync"

    async def call(self, method: Any, /, *args: Any, **fields: Any) -> Any:
        if isinstance(self.client, AsyncOpenAI):
            return await method(*args, **fields)
        return await asyncio.to_thread(method, *args, **fields)

    async def create(self, **fields: Any) -> ChatCompletion:
        made = await self.call(self.client.chat.completions.create, **(_usual() | fields))
        assert isinstance(made, ChatCompletion)
        return made

    async def stream(self, **fields: Any) -> list[ChatCompletionChunk]:
        given = _usual() | {"stream": True} | fields
        chunks = await self.call(self.client.chat.completions.create, **given)
        if isinstance(self.client, AsyncOpenAI):
            return [chunk async for chunk in chunks]
        return await asyncio.to_thread(list, chunks)

    async def embed(self, **fields: Any) -> Any:
        given: dict[str, Any] = {"model": "sim-embedding", "input": ["ebb", "flood"]}
        return await self.call(self.client.embeddings.create, **(given | fields))


@pytest.fixture(params=["sync", "async"])
async def stock(request: pytest.FixtureRequest, door: Door) -> AsyncIterator[Stock]:
    if request.param == "sync":
        with door.openai_sync() as client:
            yield Stock(client)
    else:
        async with door.openai() as client:
            yield Stock(client)


def _usual() -> dict[str, Any]:
    return {"model": "sim-small", "messages": USER, "max_tokens": 12}


def text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def test_a_stream_says_what_the_answer_in_one_piece_says(stock: Stock) -> None:
    whole = await stock.create()
    chunks = await stock.stream()
    [choice] = whole.choices
    assert (choice.message.role, choice.finish_reason) == ("assistant", "length")
    assert choice.message.content == text(chunks) != ""
    assert whole.model == chunks[0].model == "sim-small"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    assert whole.usage is not None
    assert (whole.usage.completion_tokens, whole.usage.total_tokens) == (12, 10 + 12)


async def test_usage_comes_in_a_last_chunk_where_it_is_asked_for(stock: Stock) -> None:
    *before, last = await stock.stream(stream_options={"include_usage": True})
    assert [chunk.usage for chunk in before] == [None] * len(before)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (10, 12)
    assert last.id == before[0].id


async def test_every_kind_of_message_and_parameter_is_taken(stock: Stock) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    call = {"id": "call_1", "type": "function", "function": {"name": "tide_at", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Very."}]},
        {"role": "user", "name": "ada", "content": [{"type": "text", "text": "Look:"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "3 m"},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": "Why?"},
    ]
    made = await stock.create(
        messages=messages,
        max_tokens=openai.omit,
        max_completion_tokens=5,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop=["END"],
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        user="u-1",
        metadata={"team": "tides"},
        n=1,
    )
    assert made.usage is not None
    assert made.usage.completion_tokens == 5


async def test_a_tool_is_called_and_its_result_answered(stock: Stock) -> None:
    asked = await stock.create(tools=TOOLS, max_tokens=openai.omit)
    [choice] = asked.choices
    [call] = choice.message.tool_calls or []
    assert choice.finish_reason == "tool_calls"
    assert call.type == "function"
    assert call.function.name == "tide_at"
    told = {"role": "tool", "tool_call_id": call.id, "content": "3 m"}
    answered = await stock.create(
        messages=[*USER, choice.message.to_dict(), told], tools=TOOLS, max_tokens=openai.omit
    )
    assert answered.choices[0].finish_reason == "stop"
    assert answered.choices[0].message.tool_calls is None


async def test_deltas_of_two_tool_calls_join_to_the_calls_of_one_piece(door: Door) -> None:
    fields: Any = {"model": "sim-small", "messages": USER, "tools": TOOLS}
    async with door.openai() as client:
        whole = await client.chat.completions.create(parallel_tool_calls=True, **fields)
        async with client.chat.completions.stream(parallel_tool_calls=True, **fields) as events:
            streamed = await events.get_final_completion()
    asked, heard = (each.choices[0].message.tool_calls or [] for each in (whole, streamed))
    assert [_named(call) for call in asked] == [_named(call) for call in heard]
    assert len(asked) == 2
    assert streamed.choices[0].finish_reason == "tool_calls"


def _named(call: Any) -> tuple[str, str, str]:
    return call.id, call.function.name, call.function.arguments


class Tide(pydantic.BaseModel):
    harbour: str
    hours: int


async def test_an_answer_is_parsed_into_the_callers_own_model(stock: Stock) -> None:
    parse = stock.client.chat.completions.parse
    made = await stock.call(parse, model="sim-small", messages=USER, response_format=Tide)
    assert isinstance(made.choices[0].message.parsed, Tide)


async def test_models_are_listed_and_those_that_chat_come_first(stock: Stock) -> None:
    page = await stock.call(stock.client.models.list)
    names = [model.id for model in page.data]
    assert names[-1] == "sim-embedding"
    assert {"sim-small", "gate-keeper"} < set(names)
    assert (await stock.call(stock.client.models.retrieve, "gate-keeper")).id == "gate-keeper"
    with pytest.raises(openai.NotFoundError) as raised:
        await stock.call(stock.client.models.retrieve, "none")
    assert raised.value.code == "model_not_found"


async def test_a_model_answers_under_its_public_name(stock: Stock) -> None:
    assert (await stock.create(model="gate-keeper")).model == "gate-keeper"


async def test_embeddings_are_the_same_in_either_encoding(stock: Stock, door: Door) -> None:
    """The encoding that openai-py asks for by itself fails its own strict validation, anywhere."""
    floats = await stock.embed(encoding_format="float")
    async with door.openai(_strict_response_validation=False) as client:
        packed = await Stock(client).embed()
    assert [each.index for each in packed.data] == [0, 1]
    for one, other in zip(packed.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
    assert floats.model == "sim-embedding"
    assert floats.usage.prompt_tokens == floats.usage.total_tokens > 0
    short = await stock.embed(input="ebb", dimensions=8, encoding_format="float")
    assert len(short.data[0].embedding) == 8


async def test_flex_is_the_batch_class(door: Door) -> None:
    async with door.openai() as client:
        create = client.chat.completions.with_raw_response.create
        for tier, job_class in [("flex", "batch"), ("auto", "interactive")]:
            raw = await create(**(_usual() | {"service_tier": tier}))
            assert raw.parse().choices[0].message.content
            assert (await door.job(raw.headers["x-tidegate-job"]))["class"] == job_class


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"temperature": 5}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "pirate", "content": "x"}]}, "messages[0].role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"min_p": 1}}, "min_p"),
        ({"model": "sim-slow", "extra_body": {"top_k": 1}}, "top_k"),
        ({"store": True}, "store"),
    ],
)
async def test_what_is_not_done_is_a_bad_request_that_names_it(
    door: Door, fields: dict[str, Any], param: str
) -> None:
    async with door.openai() as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as raised:
                await client.chat.completions.create(**(_usual() | fields), stream=stream)
            assert raised.value.param == param
            assert raised.value.request_id
    assert (await door.simulator.stats())["started"] == 0


async def test_an_extra_parameter_passes_where_the_route_lets_it(stock: Stock) -> None:
    made = await stock.create(extra_body={"top_k": 1})
    assert made.choices[0].finish_reason == "length"


async def test_errors_have_their_types(stock: Stock, door: Door) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await stock.create(model="gpt-none")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        await stock.embed(model="gpt-none")
    with pytest.raises(openai.BadRequestError) as empty:
        await stock.embed(input=[])
    assert empty.value.param == "input"
    wrong = stock.client.with_options(api_key="tg_wrong")
    with pytest.raises(openai.AuthenticationError) as key:
        await stock.call(wrong.chat.completions.create, **_usual())
    assert "tg_wrong" not in str(key.value)
    with pytest.raises(openai.AuthenticationError):
        await stock.call(wrong.models.list)
    assert (await door.simulator.stats())["started"] == 0


async def test_a_key_of_an_answer_opens_no_other_one(stock: Stock) -> None:
    headers = {"Idempotency-Key": f"once-{id(stock)}"}
    first = await stock.create(extra_headers=headers)
    again = await stock.create(extra_headers=headers)
    assert (first.id, first.choices) == (again.id, again.choices)
    assert text(await stock.stream(extra_headers=headers)) == first.choices[0].message.content
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        await stock.create(extra_headers=headers, max_tokens=13)
    assert raised.value.code == "request_id_conflict"


async def test_a_provider_that_limits_or_fails_is_told_by_type(stock: Stock, door: Door) -> None:
    """A stream that has not begun raises as the answer in one piece does."""
    limited_model, broken_model = f"sim-limited-{stock.who}", f"sim-broken-{stock.who}"
    await door.simulator.fault(fail=429, retry_after=50, model=limited_model)
    await door.simulator.fault(fail=500, model=broken_model)
    for ask in (stock.create, stock.stream):
        with pytest.raises(openai.RateLimitError) as limited:
            await ask(model=limited_model)
        assert 0 < int(limited.value.response.headers["retry-after"]) < 60
    for ask in (stock.create, stock.stream):
        with pytest.raises(openai.InternalServerError) as failed:
            await ask(model=broken_model)
        assert failed.value.code


async def test_an_error_in_mid_stream_is_raised(stock: Stock, door: Door) -> None:
    model = f"sim-torn-{stock.who}"
    await door.simulator.fault(error_after=5, model=model)
    with pytest.raises(openai.APIError) as raised:
        await stock.stream(model=model)
    assert not isinstance(raised.value, openai.APIStatusError)
    assert raised.value.code
