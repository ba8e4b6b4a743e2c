"""Makes charts/tidegate/README.md of README.head.md and the comments of values.yaml.

`python charts/readme.py` writes it; with `--check` the exit status tells whether it is up to date.
A comment belongs to the key below it and begins with `# -- `. A key whose value is a block with
keys of its own is a heading or a group; anything else is a value, with a row of its own.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

CHART = Path(__file__).parent / "tidegate"
_MARK = "# -- "


@dataclass(frozen=True, slots=True)
class Value:
    """A key of values.yaml. `comment` is empty where it has none; `default` None for a group."""

    path: tuple[str, ...]
    comment: str
    default: str | None

    @property
    def name(self) -> str:
        """Its dotted path, as `--set` takes it."""
        return ".".join(self.path)


def read_values(text: str) -> list[Value]:
    """Every key of the text, in its order, but for those within a flow collection (`{...}`)."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("values.yaml is no mapping")
    return list(_walk(node, text.splitlines(), ()))


def _walk(node: yaml.MappingNode, lines: list[str], above: tuple[str, ...]) -> Iterator[Value]:
    for key, value in node.value:
        path = (*above, str(key.value))
        comment = _comment(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield Value(path, comment, None)
            yield from _walk(value, lines, path)
        else:
            yield Value(path, comment, _flow(value))


def _comment(lines: list[str], line: int) -> str:
    """The comment right above a line, as one line; empty unless it has our mark."""
    first = line
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    block = [each.strip() for each in lines[first:line]]
    marked = [index for index, each in enumerate(block) if each.startswith(_MARK)]
    if not marked:
        return ""
    head, *rest = block[marked[-1] :]
    return " ".join([head.removeprefix(_MARK), *(each.removeprefix("#").strip() for each in rest)])


def _flow(node: yaml.Node) -> str:
    """A value on one line, as it may be written in YAML."""
    if isinstance(node, yaml.ScalarNode):
        return f'"{node.value}"' if node.style else str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return "[" + ", ".join(_flow(each) for each in node.value) + "]"
    if isinstance(node, yaml.MappingNode):
        return "{" + ", ".join(f"{key.value}: {_flow(each)}" for key, each in node.value) + "}"
    raise ValueError(f"line {node.start_mark.line + 1}: neither a scalar nor a collection")


def make_readme(head: str, values: list[Value]) -> str:
    """The page: a table of the single values, then a heading with a table for each group."""
    groups = [value for value in values if len(value.path) == 1 and value.default is None]
    single = [value for value in values if len(value.path) == 1 and value.default is not None]
    parts = [head.rstrip(), "## Values", _table(single)]
    for group in groups:
        below = [value for value in values if value.path[0] == group.path[0] and value.path[1:]]
        parts += [f"### {group.name}", group.comment, _table(below)]
    return "\n\n".join(parts) + "\n"


def _table(values: list[Value]) -> str:
    rows = [_row(value) for value in values]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])


def _row(value: Value) -> str:
    default = "" if value.default is None else f"`{value.default}`"
    return f"| `{value.name}` | {default} | {value.comment} |".replace("|  |", "| |")


def main(arguments: list[str]) -> int:
    """Writes or checks the page; the exit status."""
    head = (CHART / "README.head.md").read_text(encoding="utf-8")
    page = make_readme(head, read_values((CHART / "values.yaml").read_text(encoding="utf-8")))
    target = CHART / "README.md"
    if arguments == ["--check"]:
        if target.exists() and target.read_text(encoding="utf-8") == page:
            return 0
        sys.stderr.write(f"{target} is out of date: run python charts/readme.py\n")
        return 1
    if arguments:
        sys.stderr.write("usage: python charts/readme.py [--check]\n")
        return 2
    target.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
