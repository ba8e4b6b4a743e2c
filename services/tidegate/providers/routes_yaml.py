"""YAML as a routes file is written in it, read together with the line of every entry.

Only the plain part of YAML: mappings, sequences, texts, numbers, booleans, null, and anchors where
something is said twice. `yes` and `2026-01-01` are texts here (as in YAML 1.2), a name given twice
is an error, and so is a tag.
"""

import re
from dataclasses import dataclass, field
from typing import Final

import yaml

# Room for thousands of models, and a bound on the time that a file can take.
LARGEST_BYTES: Final = 1 << 19
# Aliases make a tree of any size from a short text.
_MOST_ENTRIES: Final = 50_000
_DEEPEST: Final = 20

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,30}")
_NUMBER: Final = re.compile(
    r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,4})?"
)
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_HALF_CHARACTER: Final = re.compile(r"[\ud800-\udfff]")
_SIGN: Final = re.compile(r"'(?:[^\w\s'\"]{1,2}|\\t|<[a-z ]{1,20}>)'")
_QUOTED: Final = re.compile(r"['\"](?!<).{3,}", re.DOTALL)


class YamlError(Exception):
    """A text that is not such YAML. `problem` quotes nothing of it that could be a secret."""

    def __init__(self, problem: str, line: int | None, place: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.place = place


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds. Places are dotted, as in `models.small.targets[0].model`."""

    value: object
    lines: dict[str, int] = field(repr=False)

    def line_of(self, place: str) -> int | None:
        """The line (from 1) of a place, or of the innermost one around it that the text has."""
        while place and place not in self.lines:
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return self.lines.get(place)


def read_yaml(text: str) -> Document:
    """The document that the text is.

    Raises:
        YamlError: it is none.
    """
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError("holds a character that YAML does not allow", line) from None
    except yaml.YAMLError as error:
        # Without the snippet that the library would show: it may quote a key put there by mistake.
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        # Signs of the language itself may be told, and nothing that the author wrote.
        if set(_SIGN.sub("", problem)) & {"'", '"'}:
            problem = _QUOTED.sub("", problem).rstrip()
        raise YamlError(
            f"{problem} (mind the indentation; put texts with `: `, `#` or `*` into quotes)",
            None if mark is None else mark.line + 1,
        ) from None
    except RecursionError:
        raise YamlError("is nested too deep", None) from None
    walk = _Walk()
    return Document(None if node is None else walk.read(node, "", 0), walk.lines)


class _Walk:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self._entries = 0

    def read(self, node: yaml.Node, place: str, depth: int) -> object:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        self._entries += 1
        if self._entries > _MOST_ENTRIES:
            raise YamlError("holds too much", line)
        if depth > _DEEPEST:
            raise YamlError("is nested too deep", line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            _check_tag(node, "seq", place)
            return [
                self.read(item, f"{place}[{index}]", depth + 1)
                for index, item in enumerate(node.value)
            ]
        return _scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, place: str, depth: int) -> dict[object, object]:
        _check_tag(node, "map", place)
        found: dict[object, object] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError("a name is text, not a mapping or a list", line, place)
            name = _scalar(key, place)
            if name in found:
                raise YamlError("a name is given twice", line, place)
            inner = f"{place}.{name}".lstrip(".")
            self.lines.setdefault(inner, line)
            found[name] = self.read(value, inner, depth + 1)
        return found


def _scalar(node: yaml.Node, place: str) -> object:
    _check_tag(node, "str", place)
    text: str = node.value
    if _HALF_CHARACTER.search(text):
        line = node.start_mark.line + 1
        raise YamlError("half a character (`\\ud800` to `\\udfff`); write it as it is", line, place)
    if getattr(node, "style", None) is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _check_tag(node: yaml.Node, kind: str, place: str) -> None:
    if node.tag != f"tag:yaml.org,2002:{kind}":
        line = node.start_mark.line + 1
        raise YamlError("a tag (`!something`) has no meaning here; leave it out", line, place)
