"""openai-node and the Vercel AI SDK's openai-compatible provider, as they are installed.

The scripts of tests/clients use them as their manuals say and print what came of it. What they get
is compared with what the simulator says, not with what openai-py made of it.
"""

import asyncio
from typing import Any

import pytest

from tests.support.clients import SCRIPTS, Door, Node
from tidegate.simulator.answer import answer

pytestmark = pytest.mark.timeout(180)


def expected(tokens: int = 12, question: str = "When does the tide turn?") -> str:
    return answer(1, [{"role": "user", "content": question}], tokens).text()


async def fail_each_by_its_model(door: Door, who: str) -> None:
    await door.simulator.fault(fail=429, retry_after=50, model=f"sim-limited-{who}")
    await door.simulator.fault(fail=500, model=f"sim-broken-{who}")
    await door.simulator.fault(error_after=5, model=f"sim-torn-{who}")


def test_the_lock_names_no_registry() -> None:
    lock = (SCRIPTS / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')


async def test_openai_node_gets_the_answer_either_way(door: Door, node_clients: Node) -> None:
    told = await node_clients.tell("openai.mjs", "answers", door)
    [choice] = told["whole"]["choices"]
    assert choice["message"]["content"] == told["text"] == expected()
    assert choice["finish_reason"] == "length"
    assert told["usage"][:-1] == [None] * (len(told["usage"]) - 1)
    assert told["usage"][-1] == told["whole"]["usage"]
    assert told["usage"][-1]["completion_tokens"] == 12


async def test_openai_node_runs_a_tool_to_the_final_answer(door: Door, node_clients: Node) -> None:
    told = await node_clients.tell("openai.mjs", "tools", door)
    assert told["roles"] == ["user", "assistant", "tool", "assistant"]
    assert told["final"].endswith(".")


async def test_openai_node_lists_models_and_embeds(door: Door, node_clients: Node) -> None:
    told = await node_clients.tell("openai.mjs", "lists", door)
    assert told["models"][-1] == "sim-embedding"
    assert told["packed"] == pytest.approx(told["floats"])
    assert len(told["floats"]) == 1536


async def test_openai_node_tells_errors_apart(door: Door, node_clients: Node) -> None:
    await fail_each_by_its_model(door, "node")
    told = await node_clients.tell("openai.mjs", "errors", door)
    assert told.pop("option") is None
    assert {name: error["kind"] for name, error in told.items()} == {
        "missing": "NotFoundError",
        "bad": "BadRequestError",
        "conflict": "UnprocessableEntityError",
        "key": "AuthenticationError",
        "limited": "RateLimitError",
        "broken": "InternalServerError",
        "cut": "APIError",
    }
    assert told["missing"]["code"] == "model_not_found"
    assert told["bad"]["param"] == "n"
    assert all(told[name]["requestID"] for name in told if name != "cut")


async def test_openai_node_that_asks_again_gets_the_first_calls_answer(
    door: Door, node_clients: Node
) -> None:
    await door.simulator.fault(ttft=1.5, model="sim-slow")
    given = {"model": "sim-slow", "timeout": 1000, "maxRetries": 8, "question": "From Node"}
    told = await node_clients.tell("openai.mjs", "patience", door, **given)
    assert told == {"whole": expected(12, "From Node"), "streamed": expected(13, "From Node")}
    stats = await door.simulator.settled()
    assert (stats["started"], stats["completed"]) == (2, 2)


async def test_openai_node_times_out_by_type(door: Door, node_clients: Node) -> None:
    await door.simulator.fault(ttft=1.5, model="sim-slow")
    told = await node_clients.tell("openai.mjs", "timeout", door, model="sim-slow", timeout=500)
    assert told["kind"] == "APIConnectionTimeoutError"


async def test_whoever_aborts_ends_the_call_to_the_model(door: Door, node_clients: Node) -> None:
    await door.simulator.fault(stall_after=3, stall_s=600, model="sim-stalled")
    given: dict[str, Any] = {"model": "sim-stalled", "maxTokens": 400}
    begun = await asyncio.gather(
        node_clients.tell("openai.mjs", "abort", door, question="openai leaves", **given),
        node_clients.tell("ai.mjs", "abort", door, question="ai leaves", **given),
    )
    assert all(begun)
    stats = await door.simulator.settled()
    assert (stats["started"], stats["aborted"]) == (2, 2)
    for call in stats["calls"]:
        assert (await door.until_ended(call["job"]))["state"] == "cancelled"


async def test_the_ai_sdk_gets_the_answer_either_way(door: Door, node_clients: Node) -> None:
    told = await node_clients.tell("ai.mjs", "answers", door)
    assert told == {
        "texts": [expected(), expected()],
        "reasons": ["length", "length"],
        "tokens": [[10, 12], [10, 12]],
        "errors": 0,
    }


async def test_the_ai_sdk_runs_a_tool_to_the_final_answer(door: Door, node_clients: Node) -> None:
    told = await node_clients.tell("ai.mjs", "tools", door)
    whole, streamed = told["calls"]
    assert whole == streamed
    assert [len(step) for step in whole] == [1, 0]
    assert whole[0][0].endswith(": 3 m")
    assert told["texts"][0] == told["texts"][1] != ""


async def test_the_ai_sdk_gets_objects_and_embeddings(door: Door, node_clients: Node) -> None:
    told = await node_clients.tell("ai.mjs", "shapes", door)
    assert isinstance(told["output"]["hours"], int)
    assert told["sizes"] == [1536, 1536]


async def test_the_ai_sdk_tells_errors_apart(door: Door, node_clients: Node) -> None:
    await fail_each_by_its_model(door, "ai")
    told = await node_clients.tell("ai.mjs", "errors", door)
    assert {name: told[name]["name"] for name in ("missing", "limited", "broken")} == {
        "missing": "AI_APICallError",
        "limited": "AI_APICallError",
        "broken": "AI_APICallError",
    }
    assert (told["missing"]["status"], told["limited"]["status"]) == (404, 429)
    assert told["broken"]["status"] >= 500
    assert (told["cut"]["errors"], told["cut"]["reason"]) == (1, "error")
