"""Logs as hypothesis draws them: every interleaving of attempts that the fence lets through."""

from dataclasses import dataclass, field

from hypothesis import strategies as st

from tidegate.contracts.events import (
    Append,
    AttemptStarted,
    CacheMark,
    Cancelled,
    Completed,
    Delta,
    Event,
    Expired,
    Failed,
    JobSummary,
    Terminal,
    Timings,
    Usage,
    Waiting,
    encode_append,
    encode_event,
)
from tidegate.contracts.seal import encode_seal, replay

SUMMARY = JobSummary(
    id="job_v5pu6gcb5chlzlsqeaunkhagfq",
    model="sim-1",
    queue="default",
    job_class="interactive",
    created_ms=1_700_000_000_000,
    deadline_ms=1_700_000_600_000,
    request_hash="4c58dfab",
)
USAGE = Usage(input_tokens=7, cached_input_tokens=2, output_tokens=11, reasoning_tokens=3)
TIMINGS = Timings(queued_ms=5, ttft_ms=40, total_ms=900)

texts = st.text(max_size=12)
deltas = st.builds(Delta, data=texts, kind=st.sampled_from(["text", "reasoning", "refusal"]))
waits = st.builds(Waiting, reason=texts, until_ms=st.integers(0, 2**41))
marks = st.none() | st.one_of(
    st.builds(CacheMark),
    st.builds(
        CacheMark,
        tier=st.sampled_from(["exact", "semantic"]),
        score=st.none() | st.floats(-1, 1),
        age_ms=st.integers(0, 2**40),
        source=texts,
        entry=texts,
    ),
    st.builds(CacheMark, tier=st.just("coalesced"), source=texts),
)
terminals: st.SearchStrategy[Terminal] = st.one_of(
    st.builds(
        Completed,
        finish_reasons=st.just(["stop"]),
        usage=st.just(USAGE),
        timings=st.just(TIMINGS),
        cost_nano_usd=st.none() | st.integers(0, 2**40),
        saved_nano_usd=st.none() | st.integers(0, 2**40),
    ),
    *(
        st.builds(kind, reason=texts, message=texts, retriable=st.booleans(), usage=st.just(USAGE))
        for kind in (Failed, Cancelled, Expired)
    ),
)


@dataclass
class Log:
    """A subject with its fence. `stored` pairs each message with its stream sequence."""

    stored: list[tuple[int, bytes]] = field(default_factory=list)
    lines: list[Append] = field(default_factory=list)
    refused: int = 0

    @property
    def head(self) -> int:
        """The stream sequence of the last message."""
        return self.stored[-1][0] if self.stored else 0

    @property
    def sealed(self) -> bool:
        """Whether it has ended."""
        return bool(self.lines) and self.lines[-1].job is not None

    @property
    def events(self) -> list[tuple[int, bytes]]:
        """Every event: its sequence and its bytes."""
        return [
            (sequence, bytes(raw))
            for line in self.lines
            for sequence, raw in enumerate(line.events, line.first)
        ]

    def offer(self, fence: int, line: Append, *, step: int = 1) -> int | None:
        """Stores what fits the fence; returns its stream sequence, or None for a refusal."""
        if fence != self.head or self.sealed:
            self.refused += 1
            return None
        sequence = self.head + step
        if line.job is None:
            self.stored.append((sequence, encode_append(line)))
        else:
            earlier = [encode_append(each) for each in self.lines]
            self.stored.append((sequence, encode_seal(line, earlier)))
        self.lines.append(line)
        return sequence


@dataclass
class Attempt:
    """One owner as it believes to be: its fence and its next sequence may be out of date."""

    number: int
    fence: int
    next: int
    base: int

    def line(self, events: list[Event], *, seal: bool = False) -> Append:
        """The next append of this owner."""
        return Append(
            attempt=self.number,
            first=self.next,
            at_ms=1_700_000_000_000 + self.next,
            events=[encode_event(event) for event in events],
            log=self.base,
            job=SUMMARY if seal else None,
        )


def begin(log: Log, *, continues: bool, cache: CacheMark | None = None) -> Attempt:
    """A new attempt that has read the log's head."""
    last = log.lines[-1] if log.lines else None
    attempt = Attempt(
        number=(last.attempt if last else 0) + 1,
        fence=log.head,
        next=(last.last if last else 0) + 1,
        base=log.stored[0][0] if log.stored else 0,
    )
    worker = f"worker-{attempt.number}"
    write(log, attempt, [AttemptStarted(attempt.number, worker, "p", "m", continues, cache=cache)])
    return attempt


def write(
    log: Log, attempt: Attempt, events: list[Event], *, seal: bool = False, step: int = 1
) -> bool:
    """Appends as this owner believes it may."""
    sequence = log.offer(attempt.fence, attempt.line(events, seal=seal), step=step)
    if sequence is None:
        return False
    attempt.fence, attempt.next = sequence, attempt.next + len(events)
    attempt.base = attempt.base or sequence
    return True


@st.composite
def logs(draw: st.DrawFn, *, sealed: bool | None = None) -> Log:
    """A log that several attempts, alive at the same time, wrote past each other."""
    log = Log()
    attempts = [begin(log, continues=False, cache=draw(marks))]
    for _ in range(draw(st.integers(0, 12))):
        if draw(st.integers(0, 3)) == 0:
            attempts.append(begin(log, continues=draw(st.booleans()), cache=draw(marks)))
        else:
            events: list[Event] = list(draw(st.lists(deltas | waits, min_size=1, max_size=4)))
            write(log, draw(st.sampled_from(attempts)), events, step=draw(st.integers(1, 9)))
    if draw(st.booleans()) if sealed is None else sealed:
        pending: list[Event] = list(draw(st.lists(deltas, max_size=3)))
        for attempt in [draw(st.sampled_from(attempts)), attempts[-1]]:
            write(log, attempt, [*pending, draw(terminals)], seal=True)
    return log


def events_of(payload: bytes) -> list[tuple[int, bytes]]:
    """Every event that a stored message stands for."""
    return [
        (sequence, bytes(raw))
        for line in replay(payload)
        for sequence, raw in enumerate(line.events, line.first)
    ]
