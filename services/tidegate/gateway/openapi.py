"""The OpenAPI document of the HTTP API, made from the structs that read and write it. No I/O.

The schemas of bodies are msgspec's own; what they cannot say (paths, headers, statuses) stands in
the table of `openapi_paths`.
"""

from inspect import cleandoc
from typing import Any, Final, get_args

import msgspec

import tidegate
from tidegate.contracts.chat import ChatRequest
from tidegate.contracts.create import CreateBody
from tidegate.contracts.events import CacheTier
from tidegate.contracts.job_json import JobJson
from tidegate.figures.stats import StatsJson
from tidegate.gateway.cache_json import (
    CacheStatsJson,
    ExplainBody,
    ExplanationJson,
    FeedbackBody,
    FeedbackJson,
    InvalidateBody,
    InvalidatedJson,
)
from tidegate.gateway.dead_letters_api import DeadLetterJson, DeadLetterPageJson, PurgedJson
from tidegate.gateway.openai.embeddings_request import EmbeddingsRequest
from tidegate.gateway.openai.models_api import Model, ModelList
from tidegate.gateway.openai.provenance import AGE_HEADER, CACHE_HEADER, SCORE_HEADER
from tidegate.gateway.openai.request import HowToAnswer
from tidegate.gateway.openapi_paths import OPERATIONS, Operation
from tidegate.gateway.openapi_shapes import SHAPES
from tidegate.gateway.tokens_api import TokenBody, TokenJson

_REF: Final = "#/components/schemas/{name}"
_STRUCTS: Final = (
    CacheStatsJson,
    ChatRequest,
    CreateBody,
    DeadLetterJson,
    DeadLetterPageJson,
    EmbeddingsRequest,
    ExplainBody,
    ExplanationJson,
    FeedbackBody,
    FeedbackJson,
    HowToAnswer,
    InvalidateBody,
    InvalidatedJson,
    JobJson,
    Model,
    ModelList,
    PurgedJson,
    StatsJson,
    TokenBody,
    TokenJson,
)
_REASONS: Final = {
    400: "The request cannot succeed as it is; `param` names the field.",
    401: "No key, or one that is not known.",
    403: "A browser's token or a key, which may do less; or a page of an origin not allowed.",
    404: "There is no such thing for this tenant.",
    413: "The request is over the bound, which is named.",
    422: "What is there already does not allow it; a repeat cannot cure it.",
    429: "A bound is reached; `Retry-After` says when to come back.",
    500: "A fault of ours; the message carries an incident id.",
    502: "The provider failed.",
    503: "It cannot be done now; `Retry-After` says when to come back.",
    504: "Time was over before there was an answer.",
}
_HEADERS: Final = {
    "x-request-id": {"schema": {"type": "string"}, "description": "In our logs too."},
    "x-should-retry": {
        "schema": {"enum": ["false"]},
        "description": "There where a repeat cannot cure the error.",
    },
    "Retry-After": {
        "schema": {"type": "integer", "minimum": 1, "maximum": 59},
        "description": "Seconds.",
    },
}
_PROVENANCE: Final = {
    CACHE_HEADER: {
        "schema": {"enum": list(get_args(CacheTier))},
        "description": "Where the answer comes from; where a stream's headers had to go before it "
        "was known, its last chunk says so.",
    },
    SCORE_HEADER: {
        "schema": {"type": "number"},
        "description": "Cosine of the two questions, of a semantic hit.",
    },
    AGE_HEADER: {
        "schema": {"type": "integer", "minimum": 0},
        "description": "Seconds since the answer was given, of an exact or a semantic hit.",
    },
}


def openapi_document() -> dict[str, Any]:
    """The whole document, OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": tidegate.__version__,
            "description": "LLM calls out of the request path: jobs, and OpenAI's API over them.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {f"Error{status}": _error(status) for status in _REASONS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template=_REF)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    # What a chat asks for and how it is to be answered are one body on the wire.
    chat, how = schemas["ChatRequest"], schemas.pop("HowToAnswer")
    schemas["ChatCompletionRequest"] = chat | {
        "title": "ChatCompletionRequest",
        "properties": chat["properties"] | how["properties"],
    }
    for name in ("CreateBody", "ExplainBody"):
        schemas[name]["properties"]["request"] = {"$ref": _REF.format(name="ChatRequest")}
    return dict(sorted((schemas | SHAPES).items()))


def _described(operation: Operation) -> dict[str, Any]:
    responses = {str(status): _answer(status, name) for status, name in operation.answers.items()}
    for status in operation.errors:
        responses[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": responses,
    }
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    if operation.open:
        described["security"] = []
    return described


def _answer(status: int, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Accepted." if status == 202 else "Done."}
    answer["headers"] = {"x-request-id": _HEADERS["x-request-id"]}
    if name == "ChatCompletion":
        answer["description"] = "The completion; with `stream`, its chunks as server-sent events."
        answer["headers"] |= _PROVENANCE
        # Without a schema, for some take one for that of each event, others for that of the text.
        answer["content"] = _json(name) | {"text/event-stream": {}}
    elif name:
        answer["content"] = _json(name)
    return answer


def _error(status: int) -> dict[str, Any]:
    return {"description": _REASONS[status], "headers": _HEADERS, "content": _json("Error")}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}
