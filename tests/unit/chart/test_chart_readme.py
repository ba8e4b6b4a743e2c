"""The chart's page of values. Whoever lost it would set values that are not there any more."""

from pathlib import Path

import pytest

from charts import readme

CHART = Path(__file__).parents[3] / "charts" / "tidegate"
TEXT = """\
# Not of any value.

# -- What is under it.
group:
  # -- On two
  # lines.
  name: "a"
  # -- Not a value of its own below it.
  flow: {cpu: 1, list: [x, "y"]}
  bare: true
# -- Alone.
single: []
"""


def test_the_page_is_what_the_values_say() -> None:
    """Else a user reads of defaults that are others by now."""
    values = readme.read_values((CHART / "values.yaml").read_text("utf-8"))
    page = readme.make_readme((CHART / "README.head.md").read_text("utf-8"), values)
    assert (CHART / "README.md").read_text("utf-8") == page, "run: python charts/readme.py"


def test_a_comment_belongs_to_the_key_below_it() -> None:
    """Else a value would be explained by its neighbour's words."""
    assert readme.read_values(TEXT) == [
        readme.Value(("group",), "What is under it.", None),
        readme.Value(("group", "name"), "On two lines.", '"a"'),
        readme.Value(
            ("group", "flow"), "Not a value of its own below it.", '{cpu: 1, list: [x, "y"]}'
        ),
        readme.Value(("group", "bare"), "", "true"),
        readme.Value(("single",), "Alone.", "[]"),
    ]


def test_every_value_has_a_row() -> None:
    """Else a value could be used by those alone who read the templates."""
    page = readme.make_readme("# Head", readme.read_values(TEXT))
    assert page == (
        "# Head\n\n## Values\n\n"
        "| value | default | meaning |\n|---|---|---|\n"
        "| `single` | `[]` | Alone. |\n\n"
        "### group\n\nWhat is under it.\n\n"
        "| value | default | meaning |\n|---|---|---|\n"
        '| `group.name` | `"a"` | On two lines. |\n'
        '| `group.flow` | `{cpu: 1, list: [x, "y"]}` | Not a value of its own below it. |\n'
        "| `group.bare` | `true` | |\n"
    )


def test_checking_tells_by_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a check in CI would pass over a page that is out of date."""
    (tmp_path / "values.yaml").write_text(TEXT)
    (tmp_path / "README.head.md").write_text("# Head\n")
    monkeypatch.setattr(readme, "CHART", tmp_path)
    assert readme.main(["--check"]) == 1
    assert "python charts/readme.py" in capsys.readouterr().err
    assert readme.main([]) == 0
    assert readme.main(["--check"]) == 0
