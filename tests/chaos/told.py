"""What a client was told, in its own words: the only evidence that the judge takes from it."""

from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.plan import JobPlan

Frame = dict[str, Any]


@dataclass(slots=True)
class Told:
    """One client's record.

    `job_id` is empty until a create was accepted. `unanswered` counts creates of which nothing was
    heard, `refused` definite refusals by code. `frames` are events by sequence, as they came;
    `text` is what a client without events was shown in the end. `resumed` counts reconnects.
    `cancel_state` is what an accepted cancel was answered with, empty where there was none, and
    `cancelled_at` when that came (Unix seconds). `again` is the job that a repeat of the create was
    given when all had ended.
    """

    plan: JobPlan
    job_id: str = ""
    unanswered: int = 0
    refused: list[str] = field(default_factory=list)
    frames: dict[int, Frame] = field(default_factory=dict)
    text: str | None = None
    state: str = ""
    cancel_state: str = ""
    cancelled_at: float = 0.0
    resumed: int = 0
    again: str | None = None
    complaints: list[str] = field(default_factory=list)

    @property
    def last_sequence(self) -> int:
        """The sequence to resume after."""
        return max(self.frames, default=0)

    def hear(self, frame: Frame) -> bool:
        """Takes an event in; whether it is the terminal one. What cannot be is a complaint."""
        sequence = frame["sequence"]
        if sequence != self.last_sequence + 1:
            self.complaints.append(f"event {sequence} came after {self.last_sequence}")
        known = self.frames.setdefault(sequence, frame)
        if (known["type"], known.get("data")) != (frame["type"], frame.get("data")):
            self.complaints.append(f"event {sequence} came twice and differs")
        return is_terminal(frame)


TERMINAL: Final = {"completed", "failed", "cancelled", "expired"}


def is_terminal(frame: Frame) -> bool:
    """Whether nothing comes after it."""
    return frame["type"] in TERMINAL


def text_of(frames: list[Frame]) -> str:
    """The text that a reader of these events shows: of the last attempt, for others are dropped."""
    text: list[str] = []
    for frame in frames:
        if frame["type"] == "attempt_started" and not frame.get("continues", False):
            text.clear()
        elif frame["type"] == "delta":
            text.append(frame["data"])
    return "".join(text)
