"""Programs that tests need and that the lock file cannot bring: a browser, Node."""

import os
import shutil

import pytest


def require_tool(name: str, hint: str) -> str:
    """The path of the program `name` on PATH.

    Where it is missing the test is skipped with one line that ends in `hint`, which says how to get
    it. With CI=true that is a failure: what was never tried there would look as if it worked.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing in CI: {hint}", pytrace=False)
    pytest.skip(f"{name} is missing: {hint}")
