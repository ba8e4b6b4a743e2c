"""A cache that is gone: of many jobs, a few find that out, and the others do not wait for it."""

from tidegate.worker.rest import Rest


def test_a_few_failures_in_a_row_are_a_reason_to_rest() -> None:
    rest = Rest(failures=3, seconds=1.0)
    for _ in range(2):
        rest.failed(10.0)
        assert not rest.lasts(10.0)
    rest.failed(10.0)
    assert rest.lasts(10.9)
    assert not rest.lasts(11.0)


def test_failures_with_an_answer_between_them_are_none_in_a_row() -> None:
    rest = Rest(failures=2, seconds=1.0)
    rest.failed(10.0)
    rest.succeeded()
    rest.failed(10.0)
    assert not rest.lasts(10.0)


def test_after_a_rest_one_more_failure_is_enough() -> None:
    rest = Rest(failures=3, seconds=1.0)
    for _ in range(3):
        rest.failed(10.0)
    rest.failed(11.0)
    assert rest.lasts(11.5)


def test_an_answer_ends_a_rest() -> None:
    """One that was on its way all the time: it is there."""
    rest = Rest(failures=1, seconds=1.0)
    rest.failed(10.0)
    rest.succeeded()
    assert not rest.lasts(10.1)
