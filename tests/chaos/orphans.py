"""Jobs that no client knows: each must be the job of one that could not learn of it. Pure.

A client without a request id that hears nothing of its create gives up, and may have made a job.
Nobody else may: a second job for a create that was repeated under its request id is no orphan.
"""

from collections.abc import Mapping, Sequence

from tests.chaos.answers import answer_to, wrong_texts
from tests.chaos.plan import JobPlan
from tests.chaos.told import Frame, Told


def given_up(tolds: Sequence[Told]) -> list[JobPlan]:
    """What was asked by those that may have a job without knowing."""
    return [
        told.plan
        for told in tolds
        if told.unanswered and not told.job_id and not told.plan.request_id
    ]


def unexplained(
    logs: Mapping[str, Sequence[Frame]], states: Mapping[str, str], asked: Sequence[JobPlan]
) -> list[str]:
    """Jobs of `logs` that are nobody's: what they say answers none of `asked` that is left.

    Each question explains one job: a matching, so that no short beginning takes a question away
    from the one whole answer to it.
    """
    taken: dict[int, str] = {}

    def place(job_id: str, tried: set[int]) -> bool:
        for number, plan in enumerate(asked):
            wrong = wrong_texts(logs[job_id], states[job_id], answer_to(plan))
            if number in tried or next(wrong, None) is not None:
                continue
            tried.add(number)
            if number not in taken or place(taken[number], tried):
                taken[number] = job_id
                return True
        return False

    return [job_id for job_id in sorted(logs) if not place(job_id, set())]
