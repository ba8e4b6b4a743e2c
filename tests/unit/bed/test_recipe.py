"""What goes into the image: a change must be in the next one, or a test tries the old one."""

import subprocess
from pathlib import Path

import pytest

from tests.bed import recipe
from tests.bed.recipe import ingredients, sources

DOCKERFILE = """\
# COPY nothing of this
ARG PYTHON_IMAGE=python
FROM ${PYTHON_IMAGE} AS first
COPY pyproject.toml \\
     *.lock /build/
COPY --chown=1:1 services/ /build/services
RUN --mount=type=secret,id=ca --mount=type=bind,source=proto,target=/proto true
FROM first
COPY --from=first /build /app
ADD ["operator", "/app/operator"]
"""
KNOWN = [
    *("Dockerfile", "README.md", "pyproject.toml", "requirements.lock", "proto/a.proto"),
    *("services/tidegate/__init__.py", "operator/x.py", "services_of_others/x.py"),
]


def test_the_sources_are_those_of_the_context() -> None:
    assert sources(DOCKERFILE) == ["pyproject.toml", "*.lock", "services", "proto", "operator"]


def test_the_ingredients_are_what_the_sources_name() -> None:
    left_out = {"README.md", "services_of_others/x.py"}
    assert set(ingredients(DOCKERFILE, KNOWN)) == set(KNOWN) - left_out


@pytest.mark.parametrize("line", ["COPY . /app", "COPY ${WHAT} /app", "RUN --mount=type=bind true"])
def test_in_doubt_everything_counts(line: str) -> None:
    assert ingredients(f"FROM python\n{line}\n", KNOWN) == sorted(KNOWN)


def test_the_key_is_of_the_content(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "Dockerfile").write_text("FROM python\nCOPY a /a\n")
    (tmp_path / "a").write_text("1")
    first = recipe.key(tmp_path, "base:1")
    (tmp_path / "b").write_text("not of the image")
    assert recipe.key(tmp_path, "base:1") == first
    assert recipe.key(tmp_path, "base:2") != first
    (tmp_path / "a").write_text("2")
    assert recipe.key(tmp_path, "base:1") != first
