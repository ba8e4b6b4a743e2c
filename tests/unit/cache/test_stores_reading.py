"""Entries that cannot be read: a search goes on without them, and the log is not flooded."""

import pytest

from tests.support.cache_stores import entry
from tidegate.cache.entries import Scored
from tidegate.cache.stores.payload import payload_of
from tidegate.cache.stores.reading import Reading


def test_what_cannot_be_read_is_passed_over_and_told_once_a_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    reading = Reading(clock=lambda: now[0])
    found = [
        (entry(1).id, 0.9, {"tenant": "private"}),
        (entry(2).id, 0.8, payload_of(entry(2))),
    ]
    for second in (0, 1, 59, 60):
        now[0] = second
        assert reading.scored(found) == [Scored(entry(2), 0.8)]
    told = capsys.readouterr().out
    assert told.count("cannot be read") == 2
    assert "private" not in told
