"""The stock client's CPU for a token, which bench/added_latency.py shows beside the worker's.

`openai.AsyncOpenAI` as it comes, on its default transport, streams answers of the same simulator:
bench/provider_stream.py's way, and its measure.
"""

import gc

import httpx2
import openai

from bench._child import Answer, serve
from bench.provider_stream import Load, measure, stock


async def stream(*, port: int, jobs: int, rate: float, seconds: float) -> Answer:
    """Microseconds of this process for each token, and how many answers were whole."""
    # The bench's children do without; who uses the client does not.
    gc.enable()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key="any",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(limits=limits),
    ) as client:
        first, load = Load(2, rate, 1.0), Load(jobs, rate, seconds)
        # Imports and first connections are not what is measured.
        await measure(stock("openai", client, first), first)
        made = await measure(stock("openai", client, load), load)
    return {"cpu_us": made.cost, "whole": made.whole}


if __name__ == "__main__":
    serve({"stream": stream})
