"""What the cache's commands show, and what they would remove by mistake."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tidegate.cli import cache, extras
from tidegate.cli.cache_page import explanation_page, stats_page
from tidegate.cli.main import main

STATS: dict[str, Any] = {
    "entries": 1280,
    "store": "embedded",
    "embedder": "minilm-int8-1",
    "threshold_set": 0.92,
    "threshold": 0.94,
    "shadowed": 41,
    "wrong": 2,
    "wrong_low": 0.013,
    "wrong_high": 0.161,
}
CANDIDATE: dict[str, Any] = {
    "entry_id": "8f14e45f-ceea-467f-9575-3cbd1c8b9a3e",
    "question": "How do I change my username?",
    "score": 0.9312,
    "needed": None,
    "verdict": "guarded",
    "objections": ["topic: password / username"],
    "job_id": "job_1",
    "age_s": 12.5,
}
EXPLANATION: dict[str, Any] = {
    "outcome": "miss",
    "tier": None,
    "reason": "guarded",
    "scope": {"model": "sim-small", "system": ""},
    "question": "How do I reset my password?",
    "threshold": 0.92,
    "embedder_threshold": 0.914,
    "candidates": [CANDIDATE],
}


def lines(page: str) -> list[str]:
    return [" ".join(line.split()) for line in page.splitlines()]


def test_statistics_say_that_the_threshold_was_tightened_and_what_for() -> None:
    assert lines(stats_page(STATS)) == [
        "entries 1,280, in the embedded store",
        "embedder minilm-int8-1",
        "threshold 0.94, set to 0.92: too many hits were wrong",
        "compared 41 hits with the model's own answer",
        "wrong 2 of those and of those reported: 1.3 % to 16.1 % of judged hits",
    ]


def test_statistics_of_an_empty_cache_claim_nothing() -> None:
    nothing = {"embedder": None, "threshold": 0.92, "shadowed": 0, "wrong": 0}
    page = lines(stats_page(STATS | nothing | {"wrong_low": None, "wrong_high": None}))
    assert page[1:3] == ["embedder none: only the same question is answered", "threshold 0.92"]
    assert page[4] == "wrong 0; nothing was compared yet"


def test_an_explanation_shows_scope_scores_objections_and_verdict() -> None:
    assert lines(explanation_page(EXPLANATION)) == [
        "verdict miss, guarded: what is near enough asks something else",
        "threshold 0.92, in scores of this embedder 0.914",
        "question How do I reset my password?",
        "scope model sim-small",
        "system -",
        "",
        "SCORE NEEDED VERDICT AGE ENTRY QUESTION",
        f"0.931 - guarded 12.5 s {CANDIDATE['entry_id']} How do I change my username?",
        "topic: password / username",
    ]


def test_an_explanation_of_what_cannot_be_cached_has_a_reason_and_no_more() -> None:
    bypass = {"outcome": "bypass", "reason": "tools", "scope": {}, "question": ""}
    told = EXPLANATION | bypass | {"threshold": None, "candidates": []}
    assert lines(explanation_page(told)) == ["verdict bypass, tools: its answer may be an action"]


def test_a_stored_question_cannot_command_the_terminal_of_whoever_looks() -> None:
    evil = CANDIDATE | {"question": "\x1b]0;owned\x07\n" + "long " * 40}
    page = explanation_page(EXPLANATION | {"candidates": [evil]})
    assert "\x1b" not in page
    assert "\x07" not in page
    assert page.splitlines()[-2].endswith("…")


@pytest.mark.parametrize("given", [[], ["--yes"]])
def test_nothing_chosen_is_not_everything(given: list[str]) -> None:
    result = CliRunner().invoke(main, ["cache", "invalidate", *given])
    assert (result.exit_code, "give --entry" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("given", "question"),
    [
        (["--all"], "Remove everything from the cache?"),
        (["--model", "m"], "Remove from the cache: answers of the model m?"),
        (
            ["--entry", "e", "--older-than", "90s"],
            "Remove from the cache: entry e, entries older than 90.0 s?",
        ),
    ],
)
def test_before_anything_is_removed_it_is_named(given: list[str], question: str) -> None:
    result = CliRunner().invoke(main, ["cache", "invalidate", *given], input="n\n")
    assert result.exit_code == 1
    assert question in result.output


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", 90), ("1.5m", 90), ("24h", 86_400), ("7d", 604_800)]
)
def test_times_have_units(monkeypatch: pytest.MonkeyPatch, given: str, seconds: float) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(cache, "run_invalidate", lambda chosen: asked.append(chosen.body()))
    CliRunner().invoke(main, ["cache", "invalidate", "--yes", "--older-than", given])
    assert asked == [{"older_than_s": seconds}]


@pytest.mark.parametrize("given", ["", "90", "h", "-5s", "1y", "nan", "99999999d"])
def test_what_is_no_time_is_refused(given: str) -> None:
    result = CliRunner().invoke(main, ["cache", "invalidate", "--yes", "--older-than", given])
    assert (result.exit_code, "such as 90s" in result.output) == (2, True)


def test_a_judgement_is_of_one_answer_and_says_which_way() -> None:
    for given in (["--wrong"], ["--wrong", "--entry", "e", "--job", "job_" + "a" * 26]):
        result = CliRunner().invoke(main, ["cache", "feedback", *given])
        assert (result.exit_code, "give --entry or --job" in result.output) == (2, True)
    result = CliRunner().invoke(main, ["cache", "feedback", "--entry", "e"])
    assert (result.exit_code, "--wrong" in result.output) == (2, True)


def test_an_installation_without_the_cache_says_in_one_line_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "onnx" else object())
    result = CliRunner().invoke(main, ["cache", "serve"])
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        "error: the cache cannot run: onnx missing; install with: pip install 'tidegate[cache]'"
    ]


def test_up_without_the_cache_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As far as the next thing that is missing here, which is a model."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    command = ["up", "--data", str(tmp_path), "--base-url", "http://127.0.0.1:9/v1"]
    warned, ended = CliRunner().invoke(main, command).output.splitlines()
    assert warned.startswith("warning: no cache, every question goes to the model: numpy, ")
    assert warned.endswith("install with: pip install 'tidegate[cache]'")
    assert ended.startswith("error: --base-url needs --model")
    [alone] = CliRunner().invoke(main, [*command, "--no-cache"]).output.splitlines()
    assert alone == ended
