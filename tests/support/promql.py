"""Queries of Prometheus, taken apart as far as it takes to hold them against the code.

for selector in selectors('sum by (tier) (rate(hits_total{outcome="hit"}[5m]))'):
    selector.metric, selector.labels      # "hits_total", {"outcome"}
grouping('sum by (tier) (…)')             # {"tier"}
"""

import re
from dataclasses import dataclass

_STRING = r'"(?:[^"\\]|\\.)*"'
_RANGES = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(
    rf"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{{(?P<matchers>(?:[^}}\"]|{_STRING})*)\}})?"
)
_MATCHER = re.compile(rf"([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)\s*{_STRING}")
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless"}


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric in a query, and the labels that it is narrowed down by."""

    metric: str
    labels: frozenset[str]


def selectors(query: str) -> list[Selector]:
    """All metrics of a query; functions and operators are none."""
    text = _LABELS.sub(" ", _RANGES.sub(" ", query))
    found = []
    for match in _SELECTOR.finditer(text):
        is_call = text[match.end() :].lstrip().startswith("(") and match["matchers"] is None
        if is_call or match["name"] in _WORDS or text[match.start() - 1 : match.start()].isdigit():
            continue
        labels = frozenset(_MATCHER.findall(match["matchers"] or ""))
        found.append(Selector(match["name"], labels))
    return found


def grouping(query: str) -> set[str]:
    """The labels that a query groups or joins by."""
    lists = (found for found in _LABELS.findall(_RANGES.sub(" ", query)))
    return {label.strip() for each in lists for label in each.split(",") if label.strip()}
