"""Schemas of answers that no struct of ours has: spliced from bytes, or as others defined them."""

from typing import Any, Final


def _object(optional: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT: Final = {"type": "string"}
_WHOLE: Final = {"type": "integer"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}

SHAPES: Final[dict[str, Any]] = {
    "Error": _object(
        error=_object(message=_TEXT, type=_TEXT, param=_TEXT_OR_NULL, code=_TEXT_OR_NULL)
    ),
    "JobPage": _object(jobs=_list(_ref("JobJson")), next_page_token=_TEXT_OR_NULL),
    "Discovery": _object(
        grpc=_TEXT, websocket=_TEXT, sse=_TEXT, models=_list(_TEXT), version=_TEXT
    ),
    "Document": _object(openapi=_TEXT, info={"type": "object"}, paths={"type": "object"}),
    "EmbeddingList": _object(
        object={"const": "list"},
        model=_TEXT,
        data=_list(
            _object(
                optional=("object",),
                object=_TEXT,
                index=_WHOLE,
                embedding={"anyOf": [_list({"type": "number"}), _TEXT]},
            )
        ),
        usage=_object(prompt_tokens=_WHOLE, total_tokens=_WHOLE),
    ),
    "ChatCompletion": _object(
        optional=("usage",),
        id=_TEXT,
        object={"const": "chat.completion"},
        created=_WHOLE,
        model=_TEXT,
        choices=_list(
            _object(
                index={"const": 0},
                message=_ref("AssistantMessage"),
                logprobs={"type": ["object", "null"]},
                finish_reason={"enum": ["stop", "length", "tool_calls", "content_filter"]},
            )
        ),
        usage=_object(
            prompt_tokens=_WHOLE,
            completion_tokens=_WHOLE,
            total_tokens=_WHOLE,
            prompt_tokens_details=_object(cached_tokens=_WHOLE),
            completion_tokens_details=_object(reasoning_tokens=_WHOLE),
        ),
    ),
    "AssistantMessage": _object(
        optional=("reasoning_content", "tool_calls"),
        role={"const": "assistant"},
        content=_TEXT_OR_NULL,
        refusal=_TEXT_OR_NULL,
        reasoning_content=_TEXT,
        tool_calls=_list(
            _object(
                id=_TEXT,
                type={"const": "function"},
                function=_object(name=_TEXT, arguments=_TEXT),
            )
        ),
    ),
}
