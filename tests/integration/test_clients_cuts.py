"""A provider's stream is cut at every byte; what must never happen is a part that looks whole.

Every cut has a model of its own, so that no breaker opens, and happens again when the call is made
again: nothing can come of it but an error, for the client too.
"""

import asyncio
from dataclasses import dataclass

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.clients import Door
from tests.support.cutter import FINISHED, MODELS, STREAM, TEXT, cutter

pytestmark = pytest.mark.timeout(240)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client was shown, and how it ended."""

    model: str
    text: str
    finish_reason: str | None
    error: openai.APIError | None

    @property
    def at(self) -> int:
        return int(self.model.split("-")[1])


async def read(client: AsyncOpenAI, model: str) -> Seen:
    text, reason = "", None
    try:
        async for chunk in await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Tides?"}], stream=True
        ):
            text += chunk.choices[0].delta.content or ""
            reason = chunk.choices[0].finish_reason or reason
    except openai.APIError as error:
        return Seen(model, text, reason, error)
    return Seen(model, text, reason, None)


async def test_no_part_of_an_answer_looks_whole(door: Door) -> None:
    async with cutter(door.cutter_port), door.openai(timeout=120) as client:
        seen = await asyncio.gather(*(read(client, model) for model in MODELS))
    for each in seen:
        assert TEXT.startswith(each.text)
        if each.error is None:
            assert (each.text, each.finish_reason) == (TEXT, "stop")
            assert each.at > FINISHED
        else:
            assert each.finish_reason is None
            assert each.at < len(STREAM)
            assert each.error.code == "provider_stream_cut"
