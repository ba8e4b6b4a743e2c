"""Single questions, for tests in which nothing strikes."""

from tests.chaos.plan import JobPlan, Surface
from tests.chaos.told import Told


def plan(number: int, surface: Surface, question: str, tokens: int = 0) -> JobPlan:
    """A job that is asked for at once; `number` makes its request id."""
    return JobPlan(
        number=number,
        surface=surface,
        at=0.0,
        question=question,
        tokens=tokens,
        batch=False,
        request_id=f"first-{number}",
        cancel_after=None,
        ttl=None,
    )


def complaints_of(tolds: list[Told]) -> list[str]:
    """What is wrong with what clients were told."""
    return [complaint for told in tolds for complaint in told.complaints]
