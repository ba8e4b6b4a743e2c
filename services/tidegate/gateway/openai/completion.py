"""A job's events as one `chat.completion`, when it has ended. No I/O."""

from typing import Any

import msgspec

from tidegate.contracts.errors import InternalError
from tidegate.contracts.events import (
    UNDECODABLE,
    Append,
    AttemptStarted,
    CorruptLogError,
    Delta,
    decode_event,
)
from tidegate.contracts.fold import Answer, Fold, JobError, ToolCall
from tidegate.eventlog.tail import Entry
from tidegate.gateway.openai.errors import Problem, ended_badly
from tidegate.gateway.openai.provenance import Provenance
from tidegate.gateway.openai.shapes import completion_id, finish_reason, usage_json

_encoder = msgspec.json.Encoder()
_logprobs_decoder = msgspec.json.Decoder(dict[str, Any])


class WholeCompletion:
    """Takes a job's entries in order; `keyed` says that the request had an Idempotency-Key."""

    def __init__(self, job_id: str, model: str, created_ms: int, *, keyed: bool) -> None:
        self._job_id = job_id
        self._model = model
        self._created_ms = created_ms
        self._keyed = keyed
        self._fold = Fold()
        self._logprobs: dict[str, list[Any]] = {}

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self._fold.state.terminal

    @property
    def problem(self) -> Problem | None:
        """Why there is no completion, once the job has ended without one."""
        error: JobError | None = self._fold.error
        return None if error is None else ended_badly(error, keyed=self._keyed)

    @property
    def provenance(self) -> Provenance:
        """Where the answer comes from."""
        return Provenance.of(self._fold.cache)

    def take(self, entry: Entry) -> None:
        """The next entry.

        Raises:
            InternalError: it cannot be read.
        """
        superseded = entry.attempt < self._fold.attempt
        try:
            self._fold.take(Append(entry.attempt, entry.sequence, entry.at_ms, [entry.raw]))
            if not superseded:
                self._collect(entry)
        except (CorruptLogError, *UNDECODABLE) as error:
            raise InternalError("the job's log cannot be read") from error

    def body(self) -> bytes:
        """The completion of a job that has completed."""
        answer, usage = self._fold.answer(), self._fold.usage
        choice = {
            "index": 0,
            "message": _message(answer),
            "logprobs": self._merged_logprobs(),
            "finish_reason": finish_reason(
                answer.finish_reason, calls_tools=bool(answer.tool_calls)
            ),
        }
        completion = {
            "id": completion_id(self._job_id),
            "object": "chat.completion",
            "created": self._created_ms // 1000,
            "model": self._model,
            "choices": [choice],
        }
        if usage is not None:
            completion["usage"] = usage_json(usage)
        return _encoder.encode(completion)

    def _collect(self, entry: Entry) -> None:
        event = decode_event(entry.raw)
        if isinstance(event, AttemptStarted) and not event.continues:
            self._logprobs.clear()
        elif isinstance(event, Delta) and event.kind == "logprobs" and event.choice == 0:
            for name, items in _logprobs_decoder.decode(event.data).items():
                if isinstance(items, list):
                    self._logprobs.setdefault(name, []).extend(items)

    def _merged_logprobs(self) -> dict[str, list[Any] | None] | None:
        if not self._logprobs:
            return None
        return {"content": None, "refusal": None} | self._logprobs


def _message(answer: Answer) -> dict[str, object]:
    silent = not answer.text and (answer.tool_calls or answer.refusal)
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if silent else answer.text,
        "refusal": answer.refusal or None,
    }
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in answer.tool_calls]
    return message


def _tool_call(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
