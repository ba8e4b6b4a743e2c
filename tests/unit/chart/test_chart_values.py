"""The chart's values, their schema, and what it copies from elsewhere.

A user who lost these would misspell a value and not be told, or set a variable that nobody reads.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from charts.readme import Value, read_values
from tidegate.chassis.settings import setting_names
from tidegate.cli.install.secrets import missing
from tidegate.cli.known_settings import SERVICES

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "tidegate"
OBSERVABILITY = ROOT / "docs" / "observability"
TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")
VALUES = read_values(TEXT)
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
TEMPLATES = {
    path.relative_to(CHART).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((CHART / "templates").rglob("*.*"))
}


def refusals(values: object) -> list[str]:
    return [
        f"{list(error.instance_path)}: {error.message}" for error in VALIDATOR.iter_errors(values)
    ]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, or the definition that it refers to."""
    if "$ref" not in schema:
        return schema
    definition: dict[str, Any] = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    return definition


def objects(schema: object, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below this one that names properties."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield place, schema
        for name, each in schema.items():
            yield from objects(each, f"{place}/{name}")
    elif isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from objects(each, f"{place}/{index}")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.name)
def test_a_value_says_what_it_is(value: Value) -> None:
    """Else a user has to guess, or to read the templates."""
    assert value.comment.endswith(".")


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.name)
def test_the_schema_knows_each_value(value: Value) -> None:
    """Else a value that the chart itself offers would be refused."""
    schema = SCHEMA
    for name in value.path:
        assert name in schema.get("properties", {}), f"{value.name} is not in values.schema.json"
        schema = resolved(schema["properties"][name])


def test_a_typo_is_refused_everywhere() -> None:
    """Else `gatway.replicas: 3` would leave one gateway, and nobody would know."""
    open_ones = [
        place
        for place, schema in objects(SCHEMA)
        if schema.get("additionalProperties") is not False
    ]
    assert not open_ones
    for name in SCHEMA["properties"]:
        assert refusals({f"{name}x": {}}), name


@pytest.mark.parametrize(
    "values",
    [
        {"gateway": {"replica": 2}},
        {"nats": {"replicas": 2}},
        {"cache": {"store": "redis"}},
        {"cache": {"qdrant": {"bundled": {"replicas": 2}}}},
        {"fullnameOverride": "tide.gate"},
        {"image": {"digest": "sha256:1"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"worker": {"settings": {"QUEUES": "default"}}},
        {"defaults": {"settings": {"TIDEGATE_LOG_LEVEL": {}}}},
        {"defaults": {"tmpSize": "64 MB"}},
        {"nats": {"external": {"url": "nats://user:password@host:4222"}}},
        {"provider": {"baseUrl": "https://key@api.example.com/v1"}},
        {"providerSecrets": [{"name": "azure"}]},
        {"routes": {"models": {}}},
        {"public": {"websocketUrl": "https://stream.example.com"}},
        {"simulator": {"enabled": "yes"}},
        {"worker": {"pool": {"queue": "Chat"}}},
        {"worker": {"pool": {"replicas": 2}}},
        {"worker": {"pool": {"maxReplicas": 1001}}},
        {"worker": {"pool": {"scaling": {"utilisation": 0.5}}}},
        {"worker": {"pool": {"limits": {"usdPerHour": 0}}}},
        {"operator": {"pool": {}}},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(values: dict[str, Any]) -> None:
    """Else it would be found out by a pod that does not start, or by a secret in plain sight."""
    assert refusals(values)


@pytest.mark.parametrize("path", sorted((CHART / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_an_example_can_be_used(path: Path) -> None:
    """Else the first thing that a user tries is refused."""
    assert not refusals(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_the_defaults_can_be_used() -> None:
    """Else nothing could be installed at all."""
    assert not refusals(yaml.safe_load(TEXT))


def test_every_variable_that_the_chart_sets_is_read_by_somebody() -> None:
    """Else a service would run with a default, and say so in a warning alone."""
    known = setting_names(SERVICES.values())
    for name, text in TEMPLATES.items():
        # A comment may name what Kubernetes would set.
        bare = re.sub(r"\{\{-? ?/\*.*?\*/ ?-?\}\}", "", text, flags=re.DOTALL)
        assert set(re.findall(r"\bTIDEGATE_[A-Z_]+\b", bare)) <= known, name


def test_the_secret_has_every_key_that_a_pod_waits_for() -> None:
    """Else pods would wait for ever for a key that nobody makes."""
    made = set(missing({}))
    text = "\n".join(TEMPLATES.values())
    keys = {
        key
        for each in re.findall(r'"keys" \((.*)\)', text)
        for key in re.findall(r'"([^"]+)"', each)
    }
    asked = keys - {"api-key", "ca.crt"}
    users = ("gateway", "worker", "cache", "streaming", "operator")
    assert {f"nats-{user}" for user in users} <= asked
    assert asked <= made
    assert "nats-admin" in made
    assert "nats-routes" in made


def test_the_default_pool_means_what_any_pool_means() -> None:
    """Else a value would be accepted here, and refused by the cluster after the install."""
    crd = yaml.safe_load((CHART / "files" / "crd.yaml").read_text(encoding="utf-8"))
    version = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    theirs = version["properties"]["spec"]["properties"]
    ours = resolved(SCHEMA["properties"]["worker"])["properties"]["pool"]["properties"]
    # Whether there is one is no matter of a pool's; what it may not say is for people alone.
    assert ours.keys() - {"create"} == theirs.keys() - {"replicas", "drainSeconds", "template"}
    for group in ("scaling", "limits"):
        assert ours[group]["properties"].keys() == theirs[group]["properties"].keys()
    given = yaml.safe_load(TEXT)["worker"]
    assert given["pool"]["maxReplicas"] == theirs["maxReplicas"]["default"]
    for name in ("concurrency", "objectiveSeconds"):
        assert given["pool"][name] == theirs[name]["default"]
    assert given["drainSeconds"] == theirs["drainSeconds"]["default"]


@pytest.mark.parametrize("name", ["tidegate.rules.yaml", "tidegate-dashboard.json"])
def test_what_is_copied_has_not_changed(name: str) -> None:
    """Else the cluster's alerts would be older than the documented ones.

    A chart can read nothing outside its folder, so there has to be a copy.
    """
    copy, origin = CHART / "files" / name, OBSERVABILITY / name
    assert copy.read_bytes() == origin.read_bytes(), f"run: cp {origin} {copy}"


def test_the_chart_names_the_version_that_it_installs() -> None:
    """Else it would pull an image of another release."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert chart["appVersion"] == project["version"]


def test_no_file_of_the_chart_is_too_long_to_be_held_in_mind() -> None:
    """Else a template would have to be searched, not read."""
    written = [
        path for kind in ("yaml", "tpl", "md", "json", "txt") for path in CHART.rglob(f"*.{kind}")
    ]
    own = [path for path in written if path.parent.name != "files"]
    # Helm reads values from one file; the page is made of it.
    whole = {"values.yaml", "values.schema.json", "README.md"}
    lengths = {path: path.read_text("utf-8").count("\n") for path in own}
    assert not [
        path.name
        for path, length in lengths.items()
        if length > (500 if path.name in whole else 400)
    ]
