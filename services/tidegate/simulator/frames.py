"""The bytes of OpenAI's chat answers: server-sent events of a stream, and the body of one piece.

All that stays the same within a stream is encoded once; a token costs one join of byte strings.
Frames of tokens come ready with HTTP/1.1's chunk framing (RFC 9112, section 7.1), because they go
straight to the transport.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

DONE: Final = b"data: [DONE]\n\n"
FINGERPRINT: Final = "fp_tidegate_simulator"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in and out."""

    prompt: int
    completion: int

    def as_openai(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


def http_chunk(data: bytes) -> bytes:
    """`data` as one chunk of a body with `Transfer-Encoding: chunked`."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ChunkFrames:
    """The frames of one streamed answer: one id, one time, one model throughout.

    With `include_usage` every chunk but the last says `usage: null`, and a chunk without choices
    carries the usage before `[DONE]`. Tokens are text, or with `whole_deltas` each a delta of its
    own as JSON.
    """

    def __init__(
        self,
        call_id: str,
        created: int,
        model: str,
        *,
        include_usage: bool,
        whole_deltas: bool = False,
    ) -> None:
        self._shared = {
            "id": call_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        self._include_usage = include_usage
        # Quotes inside JSON strings are escaped, so this mark can stand in one place only.
        before, mark, after = self._choice({"content": ""}, None).partition(b'{"content":""}')
        self._before, self._after = (
            (before, after) if whole_deltas else (before + mark[:-2], mark[-2:] + after)
        )
        self._around = len(self._before) + len(self._after)

    def role(self) -> bytes:
        """The first frame, which names the role and holds no text."""
        return self._choice({"role": "assistant", "content": "", "refusal": None}, None)

    def token_chunk(self, token: bytes) -> bytes:
        """The frame of one token, escaped as JSON wants it, with its HTTP chunk framing."""
        size = self._around + len(token)
        return b"%x\r\n%b%b%b\r\n" % (size, self._before, token, self._after)

    def ending(self, finish_reason: str, usage: Usage) -> bytes:
        """What follows the last token: the finish reason, the usage if asked for, `[DONE]`."""
        frames = self._choice({}, finish_reason)
        if self._include_usage:
            frames += _event(self._shared | {"choices": [], "usage": usage.as_openai()})
        return frames + DONE

    def _choice(self, delta: dict[str, Any], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk: dict[str, Any] = self._shared | {"choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return _event(chunk)


def error_event(body: bytes) -> bytes:
    """An error in the middle of a stream: the error body as a frame."""
    return b"data: %b\n\n" % body


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


def completion_body(
    call_id: str,
    created: int,
    model: str,
    *,
    message: dict[str, Any],
    finish_reason: str,
    usage: Usage,
) -> bytes:
    """The body of an answer that is not streamed; `message` holds its content or tool calls."""
    whole: dict[str, Any] = {"role": "assistant", "refusal": None, "annotations": []} | message
    return msgspec.json.encode(
        {
            "id": call_id,
            "object": "chat.completion",
            "created": created,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": whole,
                    "logprobs": None,
                    "finish_reason": finish_reason,
                }
            ],
            "usage": usage.as_openai(),
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
    )
