"""What a refusal is, what a path may hold, and what a taken budget and failing pods say."""

from datetime import UTC, datetime

import pytest

from tidegate.chassis.kubernetes_api import ApiServerError
from tidegate_operator.conditions import Found, Reason, conditions_of
from tidegate_operator.judging import name_taken
from tidegate_operator.keeper import _is_refusal
from tidegate_operator.paths import PODS


@pytest.mark.parametrize(
    ("status", "text", "refused"),
    [
        (400, "strict decoding error", True),
        (500, "failed to create typed patch object (x)", True),
        (500, "etcdserver: leader changed", False),
        (429, "too many", False),
        (0, "no answer", False),
    ],
)
def test_only_what_would_be_refused_again_is_a_refusal(
    status: int, text: str, refused: bool
) -> None:
    assert _is_refusal(ApiServerError(text, status)) is refused


def test_a_name_cannot_leave_its_place_in_a_path() -> None:
    assert PODS.path("a", "../x?y") == "/api/v1/namespaces/a/pods/..%2Fx%3Fy"


def test_a_taken_budget_has_a_reason_of_its_own() -> None:
    assert name_taken("p", "PodDisruptionBudget").reason is Reason.BUDGET_NAME_TAKEN
    assert name_taken("p", "Deployment").reason is Reason.NAME_TAKEN


def test_pods_that_are_not_made_are_told_of_in_kubernetes_words() -> None:
    found = Found(desired=1, current=1, pods_fail="exceeded quota")
    degraded = conditions_of(found, (), 1, datetime.now(UTC))[2]
    assert (degraded.status, degraded.reason) == ("True", "PodsFail")
    assert degraded.message == "exceeded quota."
