"""What the HTTP API has to offer: its paths, and what each may answer. A table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# Whatever asks for a key and reaches the store may answer these.
_USUAL: Final = (400, 401, 403, 500, 503)


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path.

    `answers` are the schemas of its good answers by status, empty for one without a body; `errors`
    the statuses of its bad ones; `open` needs no key.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: Mapping[int, str]
    errors: tuple[int, ...] = _USUAL
    body: str = ""
    parameters: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)
    open: bool = False


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _optional(place: str, name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": False,
        "description": description,
        "schema": {"type": "string"} | schema,
    }


_JOB: Final = (_in_path("job_id"),)
_KEY: Final = _optional(
    "header",
    "Idempotency-Key",
    "The same key gives the same job for as long as its result is kept.",
    minLength=1,
    maxLength=128,
)
_PAGES: Final = (
    _optional("query", "page_size", "At most 200.", type="integer", minimum=0, maximum=99_999_999),
    _optional("query", "page_token", "`next_page_token` of the page before."),
)

OPERATIONS: Final = (
    Operation(
        "post",
        "/v1/chat/completions",
        "createChatCompletion",
        "Ask a model, and wait for its answer or its tokens.",
        {200: "ChatCompletion"},
        (400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 504),
        body="ChatCompletionRequest",
        parameters=(
            _KEY,
            _optional(
                "header",
                "x-tidegate-class",
                "batch runs behind interactive, as service_tier flex does.",
                enum=["interactive", "batch"],
            ),
            _optional(
                "header",
                "x-tidegate-on-disconnect",
                "What becomes of the job when nobody reads it any more; cancel by default.",
                enum=["cancel", "detach"],
            ),
        ),
    ),
    Operation(
        "post",
        "/v1/embeddings",
        "createEmbedding",
        "Turn text into vectors.",
        {200: "EmbeddingList"},
        (400, 401, 403, 404, 413, 429, 500, 502, 503, 504),
        body="EmbeddingsRequest",
    ),
    Operation(
        "get", "/v1/models", "listModels", "All models, those of chats first.", {200: "ModelList"}
    ),
    Operation(
        "get",
        "/v1/models/{model}",
        "retrieveModel",
        "One model.",
        {200: "Model"},
        (*_USUAL, 404),
        parameters=(_in_path("model"),),
    ),
    Operation(
        "post",
        "/v1/jobs",
        "createJob",
        "Queue a job.",
        {202: "JobJson"},
        (*_USUAL, 404, 413, 422, 429),
        body="CreateBody",
        parameters=(_KEY,),
    ),
    Operation(
        "get",
        "/v1/jobs",
        "listJobs",
        "The tenant's jobs, without answers.",
        {200: "JobPage"},
        parameters=_PAGES,
    ),
    Operation(
        "get",
        "/v1/jobs/{job_id}",
        "getJob",
        "A job, with its answer so far.",
        {200: "JobJson"},
        (*_USUAL, 404),
        parameters=_JOB,
    ),
    Operation(
        "delete",
        "/v1/jobs/{job_id}",
        "deleteJob",
        "Remove a finished job.",
        {204: ""},
        (*_USUAL, 404, 422),
        parameters=_JOB,
    ),
    Operation(
        "post",
        "/v1/jobs/{job_id}/cancel",
        "cancelJob",
        "Record a cancel; the job may run on for a moment.",
        {200: "JobJson"},
        (*_USUAL, 404),
        parameters=_JOB,
    ),
    Operation(
        "get",
        "/v1/dead-letters",
        "listDeadLetters",
        "Jobs that failed for good, without their requests.",
        {200: "DeadLetterPageJson"},
        parameters=_PAGES,
    ),
    Operation(
        "delete",
        "/v1/dead-letters",
        "purgeDeadLetters",
        "Remove all of the tenant's dead letters.",
        {200: "PurgedJson"},
    ),
    Operation(
        "get",
        "/v1/dead-letters/{job_id}",
        "getDeadLetter",
        "A dead letter.",
        {200: "DeadLetterJson"},
        (*_USUAL, 404),
        parameters=(
            *_JOB,
            _optional("query", "request", "With what was asked.", enum=["true", "false"]),
        ),
    ),
    Operation(
        "delete",
        "/v1/dead-letters/{job_id}",
        "deleteDeadLetter",
        "Remove a dead letter.",
        {204: ""},
        (*_USUAL, 404),
        parameters=_JOB,
    ),
    Operation(
        "post",
        "/v1/dead-letters/{job_id}/replay",
        "replayDeadLetter",
        "Ask the same once more, as a new job.",
        {202: "JobJson"},
        (*_USUAL, 404, 413, 422, 429),
        parameters=_JOB,
    ),
    Operation(
        "post",
        "/v1/tokens",
        "createToken",
        "A token for a browser, which may read and cancel.",
        {201: "TokenJson"},
        (*_USUAL, 404, 413, 422),
        body="TokenBody",
    ),
    Operation(
        "get",
        "/v1/stats",
        "getStats",
        "The four figures of the whole platform, for an operator's key.",
        {200: "StatsJson"},
        parameters=(
            _optional("query", "snapshots", "With what each process told.", enum=["true", "false"]),
        ),
    ),
    Operation(
        "get",
        "/v1/cache/stats",
        "getCacheStats",
        "What the cache holds for the tenant, and how honest its hits were.",
        {200: "CacheStatsJson"},
        (*_USUAL, 422),
    ),
    Operation(
        "post",
        "/v1/cache/explain",
        "explainLookup",
        "How the cache would answer a request now, and why.",
        {200: "ExplanationJson"},
        (*_USUAL, 404, 413, 422),
        body="ExplainBody",
    ),
    Operation(
        "post",
        "/v1/cache/invalidate",
        "invalidateCache",
        "Remove entries of the tenant's from the cache.",
        {200: "InvalidatedJson"},
        (*_USUAL, 413, 422),
        body="InvalidateBody",
    ),
    Operation(
        "post",
        "/v1/cache/feedback",
        "judgeAnswer",
        "Say that an answer of the cache was right or wrong; a wrong one is removed.",
        {200: "FeedbackJson"},
        (*_USUAL, 404, 413, 422),
        body="FeedbackBody",
    ),
    Operation(
        "get",
        "/.well-known/tidegate",
        "discover",
        "The public addresses, and the models.",
        {200: "Discovery"},
        (400, 500),
        open=True,
    ),
    Operation(
        "get",
        "/openapi.json",
        "describe",
        "This document.",
        {200: "Document"},
        (400, 500),
        open=True,
    ),
)
