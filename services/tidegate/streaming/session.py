"""What one socket may do next: a state machine that takes bytes and returns actions.

States: silent (until the first subscribe or create that has form), greeted, closed. Pure; the
socket carries the actions out and reports back by `over`.
"""

from dataclasses import dataclass

from tidegate.contracts.errors import InvalidRequest, Reason, ResourceExhausted
from tidegate.streaming import frames
from tidegate.streaming.closing import NO_HELLO, Close, bad_frame
from tidegate.streaming.requests import (
    LARGEST_SEQUENCE,
    BadFrame,
    Cancel,
    Create,
    CreateRefused,
    Subscribe,
    Unsubscribe,
    parse_frame,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this frame."""

    frame: bytes


# What a socket is told to do; the client's own frames stand for themselves.
Action = Subscribe | Unsubscribe | Cancel | Create | Reply | Close


class Session:
    """The state of one socket. `max_jobs` it may be subscribed to at once."""

    def __init__(self, max_jobs: int) -> None:
        self._max_jobs = max_jobs
        self._jobs: set[str] = set()
        self._greeted = False

    @property
    def jobs(self) -> int:
        """Subscriptions that are open."""
        return len(self._jobs)

    def receive(self, data: bytes) -> Action:
        """What to do about a message; it never raises, whatever the bytes are."""
        try:
            frame = parse_frame(data)
        except BadFrame as bad:
            return bad_frame(str(bad))
        except CreateRefused as refused:
            self._greeted = True
            return Reply(frames.error(refused.problem, ref=refused.ref))
        self._greeted = self._greeted or isinstance(frame, Subscribe | Create)
        if isinstance(frame, Subscribe):
            return self._subscribe(frame)
        if isinstance(frame, Unsubscribe):
            self._jobs.discard(frame.job_id)
        return frame

    def over(self, job_id: str) -> None:
        """A subscription has ended by itself."""
        self._jobs.discard(job_id)

    def when_silent(self) -> Close | None:
        """What to do when the time to say hello is over."""
        return None if self._greeted else NO_HELLO

    def _subscribe(self, frame: Subscribe) -> Action:
        if not 0 <= frame.after_sequence <= LARGEST_SEQUENCE:
            problem = InvalidRequest(
                "after_sequence must be a whole number from 0", field="after_sequence"
            )
            return Reply(frames.error(problem, job_id=frame.job_id))
        if frame.job_id not in self._jobs and len(self._jobs) >= self._max_jobs:
            full = ResourceExhausted(
                f"a socket takes {self._max_jobs} jobs at once: unsubscribe or open another",
                reason=Reason.TOO_MANY_STREAMS,
            )
            return Reply(frames.error(full, job_id=frame.job_id))
        self._jobs.add(frame.job_id)
        return frame
