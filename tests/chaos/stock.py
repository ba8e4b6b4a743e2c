"""The stock openai client, streaming: a create and a reader in one, which cannot resume.

With a key of its own it asks again after a cut, and is given the same job from the beginning.
Without one it reads what the job became over the platform's own surface, where it knows the id.
"""

from typing import Any

import httpx2  # What the openai package of today speaks HTTP with.
from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI

from tests.chaos.clients import CALL_SECONDS, UNKNOWN, PollingClient, Unheard

# What ends a stream that another try cures: a cut, another attempt's text, a drain.
_PASSING = {None, "answer_changed", "draining"}


class StockClient(PollingClient):
    """`create` asks and reads; whatever is not seen to its end is looked up."""

    async def create(self) -> bool:
        """As `Client` has it."""
        try:
            self.told.text = await self._ask()
        except APIStatusError as error:
            if str(error.code) != UNKNOWN:
                self.told.job_id = error.response.headers.get("x-tidegate-job", "")
            # With a job it is no refusal: that job ended so, or cannot be read now.
            return bool(self.told.job_id) or self.refuse(
                error.status_code, str(error.code or error.status_code)
            )
        except (APIConnectionError, AttributeError) as error:
            # AttributeError: what anyio makes of a connection that is cut right after it was made.
            raise Unheard from error
        except (APIError, httpx2.HTTPError) as error:
            # In mid-stream: the job ended otherwise, or the connection did.
            code = getattr(error, "code", None)
            if self.plan.request_id and code in _PASSING:
                self.told.resumed += 1
                return False
            self.told.text = None
        return bool(self.told.job_id)

    async def follow(self) -> bool:
        """What it was shown stands; only where it saw no end, the job is looked up."""
        shown = self.told.text
        ended = await super().follow()
        if shown is not None:
            self.told.text = shown
        return ended

    async def _ask(self) -> str:
        headers = {"Idempotency-Key": self.plan.request_id} if self.plan.request_id else {}
        if self.plan.batch:
            headers["x-tidegate-class"] = "batch"
        client = AsyncOpenAI(
            base_url=f"{self.of(self.reach.http)}/v1",
            api_key=self.reach.key,
            max_retries=0,
            timeout=CALL_SECONDS,
        )
        async with client:
            body: dict[str, Any] = self.body() | {"stream": True}
            raw = await client.chat.completions.with_raw_response.create(
                **body, extra_headers=headers
            )
            self.told.job_id = raw.headers["x-tidegate-job"]
            text, finished = [], False
            async for chunk in raw.parse():
                for choice in chunk.choices:
                    text.append(choice.delta.content or "")
                    finished = finished or choice.finish_reason is not None
        if not finished:
            raise httpx2.RemoteProtocolError("the stream ended without a finish reason")
        return "".join(text)
