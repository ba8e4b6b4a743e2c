"""What chunks and whole completions have in common: ids, usage, finish reasons. No I/O."""

from typing import Final

from tidegate.contracts.events import Usage

# OpenAI's own; clients that check refuse any other.
_FINISH_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})


def completion_id(job_id: str) -> str:
    """The id of a job's completion, the same on every read."""
    return "chatcmpl-" + job_id.removeprefix("job_")


def finish_reason(told: str, *, calls_tools: bool) -> str:
    """The provider's finish reason as one of OpenAI's, also where it told none."""
    if told in _FINISH_REASONS:
        return told
    return "tool_calls" if calls_tools else "stop"


def usage_json(usage: Usage) -> dict[str, object]:
    """`CompletionUsage`."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
