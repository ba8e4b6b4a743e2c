"""A worker with nothing going wrong: the answer is the model's, and the queue is left empty."""

import asyncio
from pathlib import Path

from tests.support.nats_server import NatsServer
from tests.support.worker_world import (
    WorkerWorld,
    attempts_in,
    terminal_of,
    text_of_last_attempt,
)
from tidegate.contracts.events import Completed, Usage
from tidegate.contracts.jobs import JobClass
from tidegate.eventlog.head import read_head


async def test_the_answer_is_the_models_and_the_queue_is_empty(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with WorkerWorld(nats_server, tmp_path) as world:
        await world.start_worker()
        jobs = [await world.submit(tokens=tokens) for tokens in (1, 20, 50)]
        for job, tokens in zip(jobs, (1, 20, 50), strict=True):
            events = await world.until_end(job)
            assert text_of_last_attempt(events) == world.answer(tokens)
            assert attempts_in(events) == 1
            terminal = terminal_of(events)
            assert isinstance(terminal, Completed)
            assert terminal.finish_reasons == ["length"]
            assert terminal.usage == Usage(input_tokens=10, output_tokens=tokens)
            assert terminal.timings.ttft_ms is not None
            assert (await read_head(world.jetstream, job.tenant, job.id)).sealed
        await world.until_queue_empty()


async def test_the_worker_counts_what_it_did(nats_server: NatsServer, tmp_path: Path) -> None:
    """An operator sees outcomes, tokens and the time to the first of them."""
    async with (
        WorkerWorld(nats_server, tmp_path) as world,
        world.process(max_attempts=1) as worker,
    ):
        await world.until_end(await world.submit(tokens=20, model="priced"))
        await world.fault(fail=500, calls=1)
        await world.until_end(await world.submit(job_class=JobClass.BATCH))
        await world.until_queue_empty()
        while 'outcome="failed"' not in (text := await worker.metrics()):
            await asyncio.sleep(0.01)
    answered = 'class="interactive",route="priced",tier="miss"'
    for line in (
        'tidegate_worker_jobs_total{job_class="interactive",outcome="completed"} 1.0',
        'tidegate_worker_jobs_total{job_class="batch",outcome="failed"} 1.0',
        'tidegate_worker_tokens_total{direction="input"} 10.0',
        'tidegate_worker_tokens_total{direction="output"} 20.0',
        'tidegate_worker_cost_nano_usd_total{model="sim-small",provider="priced"} 50000.0',
        'tidegate_worker_attempts_total{why="first"} 2.0',
        "tidegate_worker_dead_letters_total 1.0",
        f"tidegate_model_ttft_seconds_count{{{answered}}} 1.0",
        f"tidegate_model_response_seconds_count{{{answered}}} 1.0",
        'tidegate_interaction_cost_usd_sum{route="priced",tier="miss"} 5e-05',
        "tidegate_worker_slots 16.0",
    ):
        assert line in text


async def test_nothing_that_was_asked_or_answered_is_logged(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Whoever reads a platform's logs must not read its callers' conversations."""
    async with (
        WorkerWorld(nats_server, tmp_path) as world,
        world.process(log_level="debug", max_attempts=1) as worker,
    ):
        answers = [await world.until_end(await world.submit(tokens=20))]
        for fault in ({"fail": 400}, {"cut_after": 5}, {"error_after": 5}):
            await world.fault(**fault, calls=1)
            answers.append(await world.until_end(await world.submit()))
        await world.until_queue_empty()
        log = worker.log.read_text(encoding="utf-8")
        assert log.count('"event": "attempt"') == len(answers)
        words = {word for word in world.answer(20).split() if len(word) > 4}
        assert words
        assert not [word for word in {*words, "tide turn"} if word in log]
