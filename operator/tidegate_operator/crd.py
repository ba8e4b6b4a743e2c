"""The CustomResourceDefinition of WorkerPool, made from the models of `tidegate_operator.pool`.

    python -m tidegate_operator.crd > charts/tidegate/files/crd.yaml

Kubernetes wants a structural schema: no references, no alternatives, every type said. So the JSON
schema that pydantic makes is written out flat, in the dialect of OpenAPI 3.0
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/).
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

import yaml

from tidegate_operator.names import GROUP, KIND, PLURAL, SCHEMA_ANNOTATION, VERSION
from tidegate_operator.pool import LONGEST_NAME, PoolSpec, PoolStatus
from tidegate_operator.pool_template import KubernetesModel, rule

# Grows with each change after which an older operator, or an older pool, would be read wrongly.
SCHEMA: Final = 1

_Schema = dict[str, Any]
_HEAD: Final = "# Generated from the operator's models: python -m tidegate_operator.crd\n"
_DESCRIPTION: Final = (
    "The workers of one queue: the operator keeps one Deployment for it, and as many replicas as "
    "what waits and what arrives need."
)
_LONG_NAME: Final = (
    f"the name of a pool has at most {LONGEST_NAME} characters: it is a label of its pods"
)
_COLUMNS: Final = (
    ("Queue", "string", ".spec.queue", "The queue that it serves.", 0),
    ("Replicas", "integer", ".status.replicas", "Replicas that its Deployment asks for.", 0),
    ("Desired", "integer", ".status.desiredReplicas", "Replicas that were decided on.", 0),
    ("Depth", "integer", ".status.queueDepth", "Jobs that wait or run.", 0),
    ("Oldest (s)", "integer", ".status.oldestSeconds", "Seconds that the oldest has waited.", 0),
    (
        "Ready",
        "string",
        '.status.conditions[?(@.type=="Ready")].status',
        "Whether as many pods work as were decided on.",
        0,
    ),
    ("Age", "date", ".metadata.creationTimestamp", "Since when the pool is there.", 0),
    ("Limiter", "string", ".status.limiter", "What bounds the number of replicas.", 1),
    ("Reason", "string", ".status.reason", "The last decision, in words.", 1),
)
# What is the same in JSON Schema and in OpenAPI 3.0.
_SAME: Final = ("type", "description", "format", "minimum", "maximum", "maxLength", "maxItems")
_INT32_MAX: Final = 2**31 - 1


def custom_resource_definition() -> _Schema:
    """The definition, as the API server takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "annotations": {SCHEMA_ANNOTATION: str(SCHEMA)},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["wp"],
                "categories": ["tidegate"],
            },
            "versions": [_version()],
        },
    }


def as_yaml() -> str:
    """The definition as the chart has it."""
    body = yaml.dump(
        custom_resource_definition(),
        Dumper=_Dumper,
        sort_keys=False,
        width=100,
        allow_unicode=True,
    )
    return _HEAD + body


class _Dumper(yaml.SafeDumper):
    """Writes out in full what stands twice."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _version() -> _Schema:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": _DESCRIPTION,
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": _in_words(schema_of(PoolSpec)),
                    "status": _without_defaults(schema_of(PoolStatus)),
                },
                **rule(f"self.metadata.name.size() <= {LONGEST_NAME}", _LONG_NAME),
            }
        },
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {
                "name": name,
                "type": kind,
                "jsonPath": path,
                "description": description,
                "priority": priority,
            }
            for name, kind, path, description, priority in _COLUMNS
        ],
    }


def schema_of(model: type[KubernetesModel]) -> _Schema:
    """The structural schema of a model, its descriptions, defaults and bounds included."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}))


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> _Schema:
    node = _flat(node, definitions)
    made: _Schema = {key: node[key] for key in _SAME if key in node}
    made |= {key: node[key] for key in node if key.startswith("x-kubernetes-")}
    if "exclusiveMinimum" in node:
        made |= {"minimum": _plain(node["exclusiveMinimum"]), "exclusiveMinimum": True}
    if node["type"] == "integer":
        made["format"] = "int32" if made.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"
    if node.get("nullable"):
        made["nullable"] = True
    if node.get("default") is not None:
        made["default"] = _plain(node["default"])
    if "items" in node:
        made["items"] = _structural(node["items"], definitions)
    if node["type"] == "object":
        made |= _object(node, definitions)
    return made


def _object(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> _Schema:
    made: _Schema = {}
    values = node.get("additionalProperties")
    if isinstance(values, Mapping):
        made["additionalProperties"] = _structural(_nullable(values), definitions)
    elif values:
        made["x-kubernetes-preserve-unknown-fields"] = True
    if node.get("required"):
        made["required"] = list(node["required"])
    if node.get("properties"):
        made["properties"] = {
            name: _structural(each, definitions) for name, each in node["properties"].items()
        }
        has_defaults = any("default" in each for each in made["properties"].values())
        if has_defaults and "required" not in made:
            # Else nothing would be set within an object that nobody wrote.
            made["default"] = {}
    return made


def _flat(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> _Schema:
    """Without a reference, and without "or null": in Kubernetes a field is absent instead.

    What a field says of itself goes before what its model says.
    """
    flat = dict(node)
    if "anyOf" in flat:
        (only,) = [each for each in flat.pop("anyOf") if each.get("type") != "null"]
        flat = {**only, **flat}
    if "$ref" in flat:
        model = definitions[flat.pop("$ref").rpartition("/")[2]]
        flat = {**_flat(model, definitions), **flat}
    return flat


def _nullable(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """In a map of anything null is a value: in a template it takes a key away."""
    is_nullable = any(each.get("type") == "null" for each in node.get("anyOf", ()))
    return {**node, "nullable": True} if is_nullable else node


def _in_words(schema: _Schema) -> _Schema:
    """Defaults and bounds said in descriptions too: `kubectl explain` shows nothing else."""
    made: _Schema = {
        key: _in_words(each) if isinstance(each, dict) else each for key, each in schema.items()
    }
    if "properties" not in made and isinstance(made.get("description"), str):
        made["description"] = " ".join([made["description"], *_bounds(made)])
    return made


def _bounds(schema: _Schema) -> list[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    said = []
    if low is not None and high is not None:
        said.append(f"From {low} to {high}.")
    elif low is not None:
        said.append(f"{'Above' if schema.get('exclusiveMinimum') else 'At least'} {low}.")
    if "default" in schema:
        said.append(f"Default: {schema['default']}.")
    return said


def _without_defaults(schema: _Schema) -> _Schema:
    """For what people do not write: what nobody has said yet is not there."""
    return {
        key: _without_defaults(each) if isinstance(each, dict) else each
        for key, each in schema.items()
        if key != "default"
    }


def _plain(value: object) -> object:
    """A whole number is written as one, whatever Python took it for."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


if __name__ == "__main__":
    sys.stdout.write(as_yaml())
