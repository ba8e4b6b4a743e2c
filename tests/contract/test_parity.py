"""The contracts and the protocol say the same: what is stored can be shown on every surface.

A client that switches on an enum of the protocol would otherwise meet a state that it has no name
for, or a field that is stored and never sent.
"""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from google.protobuf.descriptor import EnumDescriptor

from tidegate.contracts import errors, events, fold, jobs
from tidegate.contracts.errors import Reason, TidegateError
from tidegate.contracts.events import CacheTier, DeltaKind, JobState
from tidegate.contracts.jobs import JobClass
from tidegate.v1 import jobs_pb2

MESSAGES = jobs_pb2.DESCRIPTOR.message_types_by_name


def names_of(enum: EnumDescriptor, prefix: str) -> set[str]:
    return {value.name.removeprefix(prefix).lower() for value in enum.values} - {"unspecified"}


@pytest.mark.parametrize(
    ("enum", "prefix", "values"),
    [
        ("JobState", "JOB_STATE_", {state.value for state in JobState}),
        ("JobClass", "JOB_CLASS_", {each.value for each in JobClass}),
        ("DeltaKind", "DELTA_KIND_", set(get_args(DeltaKind))),
        ("AnswerTier", "ANSWER_TIER_", set(get_args(CacheTier))),
    ],
)
def test_enums_agree(enum: str, prefix: str, values: set[str]) -> None:
    descriptor = jobs_pb2.DESCRIPTOR.enum_types_by_name[enum]
    assert names_of(descriptor, prefix) == values
    assert descriptor.values_by_number[0].name == f"{prefix}UNSPECIFIED"


def test_every_event_type_has_its_place_in_the_protocol() -> None:
    shown = {field.name for field in MESSAGES["JobEvent"].oneofs_by_name["event"].fields}
    stored = {kind.__struct_config__.tag for kind in get_args(events.Event)}
    assert shown == stored
    assert stored >= events.TERMINAL_TYPES


ENDED = dict.fromkeys(("reason", "message", "retriable", "retry_after_ms"), "error")
# What a stored field is called in the protocol; None: for the platform's own use.
RENAMED: dict[type[msgspec.Struct], dict[str, str | None]] = {
    events.AttemptStarted: {"traceparent": None},
    events.Waiting: {"until_ms": "until"},
    events.CacheMark: {"age_ms": "age"},
    fold.JobError: {"retry_after_ms": "retry_after"},
    events.Timings: {
        "queued_ms": "queued",
        "ttft_ms": "time_to_first_token",
        "total_ms": "total",
    },
    events.Failed: dict(ENDED),
    events.Cancelled: dict(ENDED),
    events.Expired: dict(ENDED),
    jobs.JobView: {
        "created_ms": "created_at",
        "deadline_ms": "deadline",
        "finished_ms": "finished_at",
    },
}
PAIRS: list[tuple[type[msgspec.Struct], str]] = [
    *((kind, kind.__name__) for kind in get_args(events.Event)),
    (events.Usage, "Usage"),
    (events.Timings, "Timings"),
    (events.CacheMark, "CacheMark"),
    (fold.Answer, "Answer"),
    (fold.ToolCall, "ToolCall"),
    (fold.JobError, "JobError"),
    (jobs.JobView, "Job"),
]


@pytest.mark.parametrize(("struct", "message"), PAIRS)
def test_fields_agree(struct: type[msgspec.Struct], message: str) -> None:
    """A stored field that the protocol lacks is lost to every gRPC client, in silence."""
    renamed = RENAMED.get(struct, {})
    stored = {renamed.get(name, name) for name in struct.__struct_fields__} - {None}
    assert stored == {field.name for field in MESSAGES[message].fields}


def test_a_cost_of_nothing_is_told_from_one_that_is_not_known() -> None:
    for message in ("Job", "Completed", "Failed", "Cancelled", "Expired"):
        assert MESSAGES[message].fields_by_name["cost_nano_usd"].has_presence
    for message in ("Job", "Completed"):
        assert MESSAGES[message].fields_by_name["saved_nano_usd"].has_presence


def test_the_terminal_states_are_the_terminal_events() -> None:
    assert {state for state in JobState if state.terminal} == events.TERMINAL_TYPES


def test_reasons_are_stable_names() -> None:
    """Callers switch on them: a reason is never renamed, and means one thing everywhere."""
    for reason in Reason:
        assert reason.value == reason.name
        assert re.fullmatch(r"[A-Z][A-Z0-9_]{1,62}", reason), "what google.rpc.ErrorInfo allows"
    known = (Path(__file__).parent / "golden" / "reasons.txt").read_text(encoding="utf-8").split()
    assert set(known) <= set(Reason), "a reason that was released is gone"


def kinds(base: type[TidegateError] = TidegateError) -> list[type[TidegateError]]:
    return [base, *(each for child in base.__subclasses__() for each in kinds(child))]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_has_a_place_on_every_surface(kind: type[TidegateError]) -> None:
    import grpc

    error = kind("m")
    assert kind.grpc_code in grpc.StatusCode.__members__
    assert 400 <= kind.http_status < 600
    assert kind.http_status != 409, "stock OpenAI clients repeat a 409 blindly"
    assert error.reason is kind.default_reason
    assert kind.__name__ in (errors.__doc__ or "")
