"""The OpenAPI document says what the gateway does: every route, every status, every field."""

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest

from tidegate.chassis.keyring import new_key
from tidegate.chassis.settings import ListenAddress
from tidegate.contracts.errors import TidegateError
from tidegate.contracts.events import (
    AttemptStarted,
    CacheMark,
    CacheTier,
    Completed,
    Delta,
    Event,
    Timings,
    Usage,
    encode_event,
)
from tidegate.eventlog.tail import Entry
from tidegate.gateway.app import make_gateway
from tidegate.gateway.openai.completion import WholeCompletion
from tidegate.gateway.openai.provenance import Provenance
from tidegate.gateway.openapi import openapi_document
from tidegate.gateway.settings import GatewaySettings

DOCUMENT = json.loads(json.dumps(openapi_document()))
ROUTES = """
providers: {nobody: {base_url: "http://127.0.0.1:1/v1"}}
models: {sim-1: {queue: default, targets: [{provider: nobody}]}}
"""


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_route_is_in_the_document_and_the_other_way_round(tmp_path: Path) -> None:
    """Else a client that was generated from it would lack a call, or make one in vain."""
    new_key(tmp_path / "keys", "acme")
    (tmp_path / "routes.yaml").write_text(ROUTES, encoding="utf-8")
    anywhere = ListenAddress("127.0.0.1:0")
    gateway = make_gateway(
        GatewaySettings(
            routes_file=tmp_path / "routes.yaml",
            keys_file=tmp_path / "keys",
            http_listen=anywhere,
            grpc_listen=anywhere,
            health_listen=anywhere,
        )
    )
    served = {
        (route.method, route.resource.canonical)
        for route in gateway.http.app.router.routes()
        if route.resource is not None and route.method not in {"HEAD", "OPTIONS"}
    }
    assert served == operations().keys()


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [each for item in value for each in references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [each for item in value.values() for each in references(item)]


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    led_to = set()
    for reference in references(DOCUMENT):
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        led_to.add(reference)
    for kind in ("schemas", "responses"):
        kept = {f"#/components/{kind}/{name}" for name in DOCUMENT["components"][kind]}
        assert kept <= led_to


def test_names_of_operations_are_unique() -> None:
    names = [operation["operationId"] for operation in operations().values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_one(name: str) -> None:
    jsonschema_rs.meta.validate(DOCUMENT["components"]["schemas"][name])


def test_an_error_of_any_kind_has_its_status_in_the_document() -> None:
    def kinds(base: type[TidegateError]) -> set[int]:
        below = (status for each in base.__subclasses__() for status in kinds(each))
        return {base.http_status, *below}

    described = {
        int(status) for operation in operations().values() for status in operation["responses"]
    }
    # A method that a path does not take is no operation of it.
    assert kinds(TidegateError) - {405} <= described


def test_every_operation_says_whether_it_needs_a_key() -> None:
    without = [path for (_, path), each in operations().items() if each.get("security") == []]
    assert without == ["/.well-known/tidegate", "/openapi.json"]
    for (_, path), operation in operations().items():
        assert ("401" in operation["responses"]) == (path not in without)


@pytest.mark.parametrize("tier", get_args(CacheTier))
def test_a_job_and_a_completion_may_come_from_any_tier(tier: CacheTier) -> None:
    """A client that was generated from the document would refuse a tier that it does not name."""
    mark = CacheMark(tier, 0.953, 90_250, "job_a", "entry-1")
    schema = DOCUMENT | {"$ref": "#/components/schemas/CacheMark"}
    jsonschema_rs.validate(schema, json.loads(msgspec.json.encode(mark)))
    completed = operations()["POST", "/v1/chat/completions"]["responses"]["200"]
    for name, value in Provenance.of(mark).headers().items():
        schema = completed["headers"][name]["schema"]
        jsonschema_rs.validate(schema, value if "enum" in schema else json.loads(value))


def test_a_completion_is_as_the_document_says() -> None:
    """The one answer that is written by hand."""
    logprobs = {"content": [{"token": "a", "logprob": -1.0}], "refusal": None}
    call = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{}"}}
    said: list[Event] = [
        AttemptStarted(1, "w"),
        Delta("hm", "reasoning"),
        Delta("a"),
        Delta("no", "refusal"),
        Delta(json.dumps(logprobs), "logprobs"),
        Delta(json.dumps(call), "tool_call"),
        Completed(["tool_calls"], Usage(1, 0, 2), Timings(1, 2, 3)),
    ]
    whole = WholeCompletion("job_x", "m", 0, keyed=False)
    for sequence, event in enumerate(said, 1):
        whole.take(Entry(sequence, 5, 1, encode_event(event)))
    schema = DOCUMENT | {"$ref": "#/components/schemas/ChatCompletion"}
    completion = json.loads(whole.body())
    jsonschema_rs.validate(schema, completion)
    for name in DOCUMENT["components"]["schemas"]["AssistantMessage"]["properties"]:
        assert name in completion["choices"][0]["message"]
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, completion | {"choices": [{"index": 0}]})
