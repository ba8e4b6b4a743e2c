"""Reading a stream's new messages, round by round, as the reaper does.

Positions move forward only; a stream that was made anew, and so ends before the position, is read
again from its beginning.
"""

from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

from tidegate.chassis.jetstream import JetStream, Stored

_BATCH: Final = 500
_BYTES: Final = 8 * 1024 * 1024


class Scan:
    """New messages of one stream. `ahead_ms` is what JetStream's clock is ahead of ours.

    A message is read once it is `age` seconds old (what was there at the first round, at once):
    whatever has left the stream by then costs nothing.
    """

    def __init__(self, jetstream: JetStream, stream: str, subject: str, *, age: float = 0) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._subject = subject
        self._age_ms = age * 1000
        self._position = 0
        self._ends: deque[tuple[int, int]] = deque()
        self._old: int | None = None
        self.ahead_ms = 0

    async def new(self, now_ms: int) -> AsyncIterator[list[Stored]]:
        """What has come of age since the last round and is still there, in batches.

        Raises:
            JetStreamError: JetStream does not answer; what was yielded will not come again.
        """
        info = await self._jetstream.api(f"STREAM.INFO.{self._stream}")
        self.ahead_ms = _clock_of(info, now_ms) - now_ms
        end = self._end_of_age(now_ms, int(info["state"]["last_seq"]))
        while self._position < end:
            batch = await self._jetstream.direct_batch(
                self._stream, self._subject, self._position + 1, _BATCH, max_bytes=_BYTES
            )
            if batch.messages:
                self._position = batch.messages[-1].sequence
                yield batch.messages
            if not batch.pending:
                # A replica may be behind, so that the rest is looked for in the next round.
                return

    def _end_of_age(self, now_ms: int, last: int) -> int:
        """The last sequence that is old enough, seeing that the stream ends at `last` now."""
        if self._old is None or last < self._position:
            # The first round, or a stream that was made anew.
            self._position, self._old = 0, last
            self._ends.clear()
        self._ends.append((now_ms, last))
        while self._ends and self._ends[0][0] <= now_ms - self._age_ms:
            self._old = self._ends.popleft()[1]
        return self._old


def _clock_of(info: dict[str, Any], now_ms: int) -> int:
    told = info.get("ts")
    return int(datetime.fromisoformat(told).timestamp() * 1000) if told else now_ms
