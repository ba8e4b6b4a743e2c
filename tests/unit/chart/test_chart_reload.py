"""The watcher of `development.reload`.

A developer who lost it would build an image for each change.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charts.tidegate.files import reload

ROOT = Path(__file__).parents[3]
WATCH = (
    "import sys; from pathlib import Path; from charts.tidegate.files import reload; "
    "reload.run(sys.argv[2:], Path(sys.argv[1]))"
)
SERVICE = "import sys, time; from changed import WORD; print(WORD, flush=True); time.sleep(60)"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_folder_gets_the_installed_package_once(tmp_path: Path) -> None:
    """Else what was copied in would be lost when its container starts again."""
    reload.copy_package(tmp_path, "tidegate")
    module = tmp_path / "tidegate" / "__init__.py"
    assert module.exists()
    module.write_text("changed = True\n")
    reload.copy_package(tmp_path, "tidegate")
    assert module.read_text() == "changed = True\n"


def test_a_package_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """Else the pod would fail with a traceback that names nothing."""
    with pytest.raises(SystemExit, match="nowhere is not installed"):
        reload.copy_package(tmp_path, "nowhere")


def test_a_changed_file_starts_the_command_again_and_sigterm_ends_it(tmp_path: Path) -> None:
    """Else a change would not be seen, or a pod would have to be killed to go."""
    folder, said = tmp_path / "src", tmp_path / "said"
    folder.mkdir()
    (folder / "changed.py").write_text("WORD = 'first'\n")
    arguments = [sys.executable, "-c", WATCH, str(folder), sys.executable, "-B", "-c", SERVICE]
    with said.open("wb") as output:
        watcher = subprocess.Popen(
            arguments,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    try:
        wait_for(lambda: said.read_text() == "first\n")
        (folder / "changed.py").write_text("WORD = 'second'\n")
        wait_for(lambda: said.read_text() == "first\nsecond\n")
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(10) == -signal.SIGTERM % 256
    finally:
        watcher.kill()
        watcher.wait()
