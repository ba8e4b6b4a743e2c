import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheTier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_TIER_UNSPECIFIED: _ClassVar[CacheTier]
    CACHE_TIER_EXACT: _ClassVar[CacheTier]
    CACHE_TIER_SEMANTIC: _ClassVar[CacheTier]

class LookupOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOOKUP_OUTCOME_UNSPECIFIED: _ClassVar[LookupOutcome]
    LOOKUP_OUTCOME_HIT: _ClassVar[LookupOutcome]
    LOOKUP_OUTCOME_MISS: _ClassVar[LookupOutcome]
    LOOKUP_OUTCOME_BYPASS: _ClassVar[LookupOutcome]
    LOOKUP_OUTCOME_SHADOW: _ClassVar[LookupOutcome]
CACHE_TIER_UNSPECIFIED: CacheTier
CACHE_TIER_EXACT: CacheTier
CACHE_TIER_SEMANTIC: CacheTier
LOOKUP_OUTCOME_UNSPECIFIED: LookupOutcome
LOOKUP_OUTCOME_HIT: LookupOutcome
LOOKUP_OUTCOME_MISS: LookupOutcome
LOOKUP_OUTCOME_BYPASS: LookupOutcome
LOOKUP_OUTCOME_SHADOW: LookupOutcome

class LookupRequest(_message.Message):
    __slots__ = ("tenant", "model", "chat_json")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHAT_JSON_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    chat_json: bytes
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., chat_json: _Optional[bytes] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("outcome", "key", "tier", "score", "answer", "reason")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    outcome: LookupOutcome
    key: str
    tier: CacheTier
    score: float
    answer: CachedAnswer
    reason: str
    def __init__(self, outcome: _Optional[_Union[LookupOutcome, str]] = ..., key: _Optional[str] = ..., tier: _Optional[_Union[CacheTier, str]] = ..., score: _Optional[float] = ..., answer: _Optional[_Union[CachedAnswer, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class CachedAnswer(_message.Message):
    __slots__ = ("entry_id", "text", "finish_reason", "job_id", "upstream_model", "created_at", "input_tokens", "output_tokens", "cost_nano_usd")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_USD_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    text: str
    finish_reason: str
    job_id: str
    upstream_model: str
    created_at: _timestamp_pb2.Timestamp
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    def __init__(self, entry_id: _Optional[str] = ..., text: _Optional[str] = ..., finish_reason: _Optional[str] = ..., job_id: _Optional[str] = ..., upstream_model: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_nano_usd: _Optional[int] = ...) -> None: ...

class StoreRequest(_message.Message):
    __slots__ = ("tenant", "model", "chat_json", "answer", "shadow_of")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHAT_JSON_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    SHADOW_OF_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    chat_json: bytes
    answer: CachedAnswer
    shadow_of: str
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., chat_json: _Optional[bytes] = ..., answer: _Optional[_Union[CachedAnswer, _Mapping]] = ..., shadow_of: _Optional[str] = ...) -> None: ...

class StoreResponse(_message.Message):
    __slots__ = ("stored", "reason")
    STORED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    stored: bool
    reason: str
    def __init__(self, stored: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model", "chat_json")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHAT_JSON_FIELD_NUMBER: _ClassVar[int]
    model: str
    chat_json: bytes
    def __init__(self, model: _Optional[str] = ..., chat_json: _Optional[bytes] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("outcome", "tier", "reason", "scope", "question", "threshold", "embedder_threshold", "candidates")
    class ScopeEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    outcome: LookupOutcome
    tier: CacheTier
    reason: str
    scope: _containers.ScalarMap[str, str]
    question: str
    threshold: float
    embedder_threshold: float
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    def __init__(self, outcome: _Optional[_Union[LookupOutcome, str]] = ..., tier: _Optional[_Union[CacheTier, str]] = ..., reason: _Optional[str] = ..., scope: _Optional[_Mapping[str, str]] = ..., question: _Optional[str] = ..., threshold: _Optional[float] = ..., embedder_threshold: _Optional[float] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("entry_id", "question", "score", "objections", "verdict", "job_id", "age", "needed")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIONS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    question: str
    score: float
    objections: _containers.RepeatedScalarFieldContainer[str]
    verdict: str
    job_id: str
    age: _duration_pb2.Duration
    needed: float
    def __init__(self, entry_id: _Optional[str] = ..., question: _Optional[str] = ..., score: _Optional[float] = ..., objections: _Optional[_Iterable[str]] = ..., verdict: _Optional[str] = ..., job_id: _Optional[str] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., needed: _Optional[float] = ...) -> None: ...

class InvalidateRequest(_message.Message):
    __slots__ = ("entry_id", "job_id", "model", "older_than", "everything", "tenant")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OLDER_THAN_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    job_id: str
    model: str
    older_than: _duration_pb2.Duration
    everything: bool
    tenant: str
    def __init__(self, entry_id: _Optional[str] = ..., job_id: _Optional[str] = ..., model: _Optional[str] = ..., older_than: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., everything: _Optional[bool] = ..., tenant: _Optional[str] = ...) -> None: ...

class InvalidateResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: int
    def __init__(self, removed: _Optional[int] = ...) -> None: ...

class ReportFeedbackRequest(_message.Message):
    __slots__ = ("entry_id", "wrong", "tenant")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    WRONG_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    wrong: bool
    tenant: str
    def __init__(self, entry_id: _Optional[str] = ..., wrong: _Optional[bool] = ..., tenant: _Optional[str] = ...) -> None: ...

class ReportFeedbackResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: bool
    def __init__(self, removed: _Optional[bool] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("entries", "store", "embedder", "threshold_set", "threshold", "shadowed", "wrong", "wrong_low", "wrong_high")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_SET_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SHADOWED_FIELD_NUMBER: _ClassVar[int]
    WRONG_FIELD_NUMBER: _ClassVar[int]
    WRONG_LOW_FIELD_NUMBER: _ClassVar[int]
    WRONG_HIGH_FIELD_NUMBER: _ClassVar[int]
    entries: int
    store: str
    embedder: str
    threshold_set: float
    threshold: float
    shadowed: int
    wrong: int
    wrong_low: float
    wrong_high: float
    def __init__(self, entries: _Optional[int] = ..., store: _Optional[str] = ..., embedder: _Optional[str] = ..., threshold_set: _Optional[float] = ..., threshold: _Optional[float] = ..., shadowed: _Optional[int] = ..., wrong: _Optional[int] = ..., wrong_low: _Optional[float] = ..., wrong_high: _Optional[float] = ...) -> None: ...
