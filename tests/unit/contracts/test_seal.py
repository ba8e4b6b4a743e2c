"""The seal: a finished log in one message, read back as exactly the events it was made from."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logs import Log, events_of, logs
from tidegate.contracts.events import (
    Append,
    Cancelled,
    CorruptLogError,
    Delta,
    decode_append,
    encode_append,
    encode_event,
)
from tidegate.contracts.fold import fold
from tidegate.contracts.seal import (
    SealBuilder,
    decode_head,
    encode_seal,
    encode_tombstone,
    is_sealed,
    replay,
)


def sealed(log: Log) -> bytes:
    return log.stored[-1][1]


@given(logs(sealed=True))
def test_a_sealed_log_replays_the_events_it_was_made_from(log: Log) -> None:
    """A late reader would get another answer than the one who watched it being written."""
    assert is_sealed(sealed(log))
    assert events_of(sealed(log)) == log.events
    assert fold(replay(sealed(log))).answer() == fold(log.lines).answer()
    assert fold(replay(sealed(log))).summary == log.lines[-1].job


@given(logs(sealed=True))
def test_a_reader_may_resume_a_sealed_log_at_every_sequence(log: Log) -> None:
    events = events_of(sealed(log))
    for after in range(len(log.events) + 1):
        assert [event for event in events if event[0] > after] == log.events[after:]


@given(logs(sealed=True))
def test_the_head_of_a_seal_is_read_without_opening_it(log: Log) -> None:
    """A live reader has everything else already, and should not pay for it again."""
    assert decode_head(sealed(log)) == log.lines[-1]


@given(logs(sealed=False))
def test_a_running_log_is_not_taken_for_a_finished_one(log: Log) -> None:
    """A cut stream must never look complete."""
    for line in log.lines:
        assert not is_sealed(encode_append(line))


def test_a_job_that_never_ran_has_a_seal_of_one_line() -> None:
    line = Append(0, 1, 5, [encode_event(Delta("x"))])
    assert is_sealed(encode_seal(line, []))
    assert replay(encode_seal(line, [])) == [line]


@given(logs(sealed=True))
def test_a_tombstone_keeps_the_id_and_nothing_that_was_said(log: Log) -> None:
    """Deleted means deleted: no prompt, no answer; but the id is not given out again."""
    last = log.lines[-1]
    stone = encode_tombstone(last)
    head = decode_head(stone)
    assert is_sealed(stone)
    assert head.tombstone
    assert head.events == []
    assert head.job == last.job
    assert head.last == last.last
    assert replay(stone) == [head]
    assert encode_tombstone(head) == stone


@given(logs(sealed=True), st.data())
def test_a_seal_cut_short_is_an_error_and_never_a_shorter_answer(
    log: Log, data: st.DataObject
) -> None:
    whole = sealed(log)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(CorruptLogError):
        replay(cut)


@given(logs(sealed=True), st.data())
def test_a_damaged_body_is_an_error_and_never_another_answer(log: Log, data: st.DataObject) -> None:
    whole = bytearray(sealed(log))
    # The check sum of zlib covers what it holds; the first two bytes are its header.
    position = data.draw(st.integers(whole.index(b"\n") + 3, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        lines = replay(bytes(whole))
    except CorruptLogError:
        return
    assert lines == log.lines


@given(st.binary(max_size=200))
def test_bytes_that_are_no_log_are_an_error_that_readers_know(payload: bytes) -> None:
    """Anything else would end a reader's task and cut off all its clients."""
    with pytest.raises(CorruptLogError):
        replay(payload)


@given(logs(sealed=True), st.binary(max_size=60))
def test_a_seal_that_holds_something_else_is_an_error(log: Log, garbage: bytes) -> None:
    head = encode_append(log.lines[-1])
    if garbage.strip(b"\n"):
        with pytest.raises(CorruptLogError):
            replay(head + b"\n" + zlib.compress(garbage))


@given(logs(sealed=True), st.data())
def test_a_seal_that_lacks_a_line_is_an_error(log: Log, data: st.DataObject) -> None:
    lines = [encode_append(line) for line in log.lines[:-1]]
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    with pytest.raises(CorruptLogError):
        replay(encode_seal(log.lines[-1], lines))


@given(logs())
def test_a_line_reads_back_as_it_was_written(log: Log) -> None:
    """A retried append is told from another's by its bytes, so they must be stable."""
    for line in log.lines:
        encoded = encode_append(line)
        assert b"\n" not in encoded
        assert decode_append(encoded) == line
        assert encode_append(decode_append(encoded)) == encoded


@given(st.lists(st.text(max_size=200), max_size=60))
def test_a_seals_size_is_never_more_than_was_said_before(texts: list[str]) -> None:
    """Else the terminal event of a long answer is refused, and the answer is lost."""
    builder = SealBuilder()
    for sequence, text in enumerate(texts, 1):
        builder.add(encode_append(Append(1, sequence, 0, [encode_event(Delta(text))])))
    bound = builder.max_size
    last = Append(1, len(texts) + 1, 0, [encode_event(Cancelled("r", "m"))])
    assert len(builder.finish(last)) - len(encode_append(last)) - 1 <= bound
