"""Dashboards and alerts that ask for what the code does not tell show nothing, and warn of nothing.

promtool, where it is there, says whether the rules are rules and whether each alert fires on what
it is for; that it asks for what there is must be said here.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promql import grouping, selectors
from tests.support.tools import require_tool
from tidegate.chassis.metrics import make_registry
from tidegate.cli.metrics_page import PROCESSES, catalogue, name_of

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "docs" / "observability"
RULES_FILE = OBSERVABILITY / "tidegate.rules.yaml"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((OBSERVABILITY / "tidegate-dashboard.json").read_text(encoding="utf-8"))
PROMTOOL = "install it with 'make deps'"
# What Prometheus itself adds to each series.
SCRAPED = {"instance", "job"}
FIGURES = ["Model response time", "Cache", "Queue", "Cost", "Health"]


def series() -> dict[str, set[str]]:
    """What can be asked for: every series' name, and its labels."""
    known: dict[str, set[str]] = {}
    for process in PROCESSES:
        for family, labels in catalogue(process).families():
            name, own = name_of(family), set(labels) | SCRAPED
            if family.type == "histogram":
                known |= {f"{name}_bucket": own | {"le"}, f"{name}_sum": own, f"{name}_count": own}
            else:
                known[name] = own
    for rule in RULES:
        if "record" in rule:
            known[rule["record"]] = recorded_labels(rule["record"])
    return known


def recorded_labels(record: str) -> set[str]:
    """A recorded name begins with its labels; with `tidegate` where it has none."""
    level = record.partition(":")[0]
    return set() if level == "tidegate" else set(level.split("_"))


SERIES = series()


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and where it stands."""

    where: str
    text: str


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    for rule in RULES:
        yield Query(rule.get("record") or rule["alert"], rule["expr"])
    for panel in panels():
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"].replace("$__rate_interval", "5m"))


QUERIES = list(queries())


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: Query) -> None:
    asked = selectors(query.text)
    assert asked
    for selector in asked:
        assert selector.metric in SERIES
        assert selector.labels <= SERIES[selector.metric]
    assert grouping(query.text) <= set().union(*(SERIES[each.metric] for each in asked))


def test_the_variables_of_the_dashboard_ask_for_what_there_is() -> None:
    (route,) = [each for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    metric, label = route["definition"].removeprefix("label_values(").rstrip(")").split(", ")
    assert label in SERIES[metric]


@pytest.mark.parametrize("rule", [rule for rule in RULES if "record" in rule], ids=str)
def test_a_recorded_name_says_which_labels_it_has_left(rule: dict[str, Any]) -> None:
    left = grouping(rule["expr"]) - {"le"}
    assert recorded_labels(rule["record"]) == left


@pytest.mark.parametrize("rule", [rule for rule in RULES if "alert" in rule], ids=str)
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever is woken by it has not read the code."""
    assert rule["labels"]["severity"] in {"page", "ticket"}
    for text in ("summary", "description", "runbook"):
        assert len(rule["annotations"][text]) > 10
    assert not rule["annotations"]["summary"].endswith(".")


def test_alerts_are_told_apart_by_their_names() -> None:
    names = [rule.get("alert") or rule["record"] for rule in RULES]
    assert len(names) == len(set(names))


def test_every_figure_is_on_the_dashboard_and_in_the_rules() -> None:
    figures = {
        "tidegate_model_ttft_seconds_bucket",
        "tidegate_model_response_seconds_bucket",
        "tidegate_worker_cache_lookups_total",
        "tidegate_queue_depth",
        "tidegate_queue_oldest_seconds",
        "tidegate_interaction_cost_usd_sum",
        "tidegate_interaction_cost_unknown_total",
        "tidegate_saved_usd_total",
    }
    shown = {
        each.metric
        for panel in panels()
        for target in panel["targets"]
        for each in selectors(target["expr"])
    }
    ruled = {each.metric for rule in RULES for each in selectors(rule["expr"])}
    assert figures <= shown
    assert figures <= ruled
    assert [each["title"] for each in DASHBOARD["panels"] if each["type"] == "row"] == FIGURES


def test_a_panel_has_its_place_and_its_source() -> None:
    """A dashboard that names somebody's own data source is empty everywhere else."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"]
        assert {target["refId"] for target in panel["targets"]}
        for source in (panel["datasource"], *(each["datasource"] for each in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not taken & cells
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))


def test_what_the_page_lists_is_loaded_by_its_instructions() -> None:
    readme = (OBSERVABILITY / "README.md").read_text(encoding="utf-8")
    for asked in {each.metric for query in QUERIES for each in selectors(query.text)}:
        if ":" in asked:
            continue
        base = asked.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        assert f"`{base}`" in readme


def test_standard_metrics_of_a_process_are_there_too() -> None:
    names = {family.name for family in make_registry("worker").collect()}
    assert {"process_resident_memory_bytes", "process_cpu_seconds"} <= names


def promtool(*arguments: str) -> None:
    tool = require_tool("promtool", PROMTOOL)
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES_FILE))


def test_prometheus_takes_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": query.text} for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", str(file))


def test_alerts_fire_on_what_they_are_for() -> None:
    promtool("test", "rules", str(Path(__file__).parent / "observability" / "rules.test.yaml"))
