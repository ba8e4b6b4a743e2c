"""The definition that the API server is given, where it could be wrong without anybody noticing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate_operator.conditions import ConditionType
from tidegate_operator.crd import as_yaml, custom_resource_definition, schema_of
from tidegate_operator.pool import Limits, PoolSpec, PoolStatus, Scaling

FILE = Path(__file__).parents[3] / "charts" / "tidegate" / "files" / "crd.yaml"
Schema = dict[str, Any]


def schema() -> Schema:
    (version,) = custom_resource_definition()["spec"]["versions"]
    found: Schema = version["schema"]["openAPIV3Schema"]
    return found


def nodes(node: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Each schema in a schema, with where it is."""
    yield path, node
    for name, each in node.get("properties", {}).items():
        yield from nodes(each, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{path}[]")


def test_the_chart_has_what_the_models_say() -> None:
    """Else a cluster would be taught another WorkerPool than the operator knows."""
    renew = "run: python -m tidegate_operator.crd > charts/tidegate/files/crd.yaml"
    assert FILE.read_text("utf-8") == as_yaml(), renew


def test_the_text_is_the_definition() -> None:
    assert yaml.safe_load(as_yaml()) == custom_resource_definition()
    assert "&id" not in as_yaml()


def test_the_schema_is_structural() -> None:
    """As the API server demands it: every type said, no alternatives, no references."""
    types = {"object", "array", "string", "number", "integer", "boolean"}
    for path, node in nodes(schema()):
        assert node["type"] in types, path
        assert not node.keys() & {"anyOf", "$ref", "title", "const"}, path


def test_everything_that_a_person_writes_or_reads_is_explained() -> None:
    for part in ("spec", "status"):
        silent = [
            path
            for path, node in nodes(schema()["properties"][part], part)
            if not path.endswith("[]") and len(node.get("description", "")) < 5
        ]
        assert not silent


def test_defaults_are_those_of_the_models_at_every_level() -> None:
    made = schema_of(PoolSpec)
    assert made["properties"]["scaling"]["default"] == {}
    for model, node in ((PoolSpec, made), (Scaling, made["properties"]["scaling"])):
        for name, field in model.model_fields.items():
            if isinstance(field.default, int | float):
                assert node["properties"][field.alias or name]["default"] == field.default, name
    # An object with a field that is required can have no default.
    assert "default" not in made


def test_explained_are_defaults_and_bounds_too() -> None:
    """`kubectl explain` shows descriptions alone."""
    spec = schema()["properties"]["spec"]["properties"]
    assert spec["concurrency"]["description"].endswith("From 2 to 4096. Default: 64.")
    assert spec["objectiveSeconds"]["description"].endswith("Above 0. Default: 30.")
    assert spec["limits"]["properties"]["usdPerHour"]["description"].endswith("Above 0.")


def test_bounds_are_those_of_the_models() -> None:
    spec = schema_of(PoolSpec)["properties"]
    assert (spec["concurrency"]["minimum"], spec["concurrency"]["maximum"]) == (2, 4096)
    assert (
        spec["objectiveSeconds"] | {"exclusiveMinimum": True, "minimum": 0}
        == (spec["objectiveSeconds"])
    )
    assert schema_of(Limits)["properties"]["tokensPerSecond"]["exclusiveMinimum"] is True


def test_nothing_of_a_status_is_made_up() -> None:
    """What no operator has said yet is not there."""
    assert not [path for path, node in nodes(schema()["properties"]["status"]) if "default" in node]


def test_the_paths_of_scale_and_columns_lead_somewhere() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]
    known = {path for path, _ in nodes(schema())}
    scale = version["subresources"]["scale"]
    columns = [each["jsonPath"] for each in version["additionalPrinterColumns"]]
    plain = [path for path in columns if "[" not in path and "metadata" not in path]
    assert {*scale.values(), *plain} <= known
    (ready,) = [path for path in columns if "[" in path]
    assert f'"{ConditionType.READY}"' in ready


@pytest.mark.parametrize("model", [PoolSpec, PoolStatus])
def test_what_a_model_writes_its_schema_knows(model: type[PoolSpec] | type[PoolStatus]) -> None:
    """Else the API server would drop it without a word."""
    known = schema_of(model)["properties"].keys()
    assert {field.alias or name for name, field in model.model_fields.items()} == known
