"""What keeps the house in order where no other tool looks.

A reader who lost these would meet files too long to hold in mind, rooms without a law, links that
lead nowhere, and a package that breaks Python's own `operator` for everybody.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tidegate

ROOT = Path(__file__).parents[2]
LONGEST_MODULE = 400
LONGEST_FUNCTION = 50
MOST_TARGETS = 17


def modules(*trees: str) -> list[Path]:
    """The modules written by hand, relative to the root."""
    found = (path for tree in trees for path in (ROOT / tree).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found if "_pb2" not in path.name)


def text_of(module: Path) -> str:
    return (ROOT / module).read_text(encoding="utf-8")


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text_of(module))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    docstring = ast.get_docstring(function, clean=False) or ""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    return lines - (docstring.count("\n") + 1 if docstring else 0)


def test_a_module_can_be_held_in_mind() -> None:
    lengths = {
        module.as_posix(): text_of(module).count("\n")
        for module in modules("services", "operator", "tests", "bench")
    }
    too_long = {module: lines for module, lines in lengths.items() if lines > LONGEST_MODULE}
    assert not too_long, "each of these is two modules: which?"


def test_a_function_can_be_seen_at_once() -> None:
    too_long = {
        f"{module.as_posix()}:{function.lineno} {function.name}": length_of(function)
        for module in modules("services", "operator")
        for function in functions(module)
        if length_of(function) > LONGEST_FUNCTION
    }
    assert not too_long


def test_every_package_states_its_law() -> None:
    packages = [
        module for module in modules("services", "operator") if module.name == "__init__.py"
    ]
    silent = [
        package.as_posix()
        for package in packages
        if not ast.get_docstring(ast.parse(text_of(package)))
    ]
    assert packages
    assert not silent


def test_every_folder_of_modules_is_a_package() -> None:
    """Else an installed Tidegate would lack it, though the source tree runs."""
    folders = {
        module.parent for module in modules("services/tidegate", "operator/tidegate_operator")
    }
    assert not [folder for folder in folders if not (ROOT / folder / "__init__.py").exists()]


def test_the_map_names_every_room() -> None:
    rooms = {path.name for path in (ROOT / "services/tidegate").iterdir() if path.is_dir()}
    named = set(re.findall(r"^``(\w+)``$", tidegate.__doc__ or "", re.MULTILINE))
    assert rooms - {"__pycache__"} <= named


def test_the_standard_operator_module_is_not_shadowed() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def leads_nowhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return not target.exists() or (anchor != "" and anchor not in headings(target))


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(page))
        if "://" not in link and leads_nowhere(page, link)
    ]
    assert not broken


def test_the_makefile_stays_small_and_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (\w+)$", makefile, re.MULTILINE))
    explained = set(re.findall(r"^(\w+):.*## ", makefile, re.MULTILINE))
    assert len(targets) <= MOST_TARGETS
    assert targets == explained


LOCKS = [
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-image.lock",
    "requirements-build.lock",
]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_host(lock: str) -> None:
    """Whoever installs chooses where from; what arrives is checked."""
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    assert not [line for line in lines if line[:1].isalnum() and not re.search(r"==.* \\$", line)]


def test_the_locks_agree() -> None:
    """Else the platform would be tested with other packages than it is started with."""

    def pins(lock: str) -> set[str]:
        return set(
            re.findall(r"^\S+==\S+", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)
        )

    assert pins("requirements.lock") <= pins("requirements-dev.lock")
    assert pins("requirements-image.lock") <= pins("requirements.lock")
    assert pins("requirements-build.lock") <= pins("requirements.lock")
