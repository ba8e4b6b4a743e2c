"""Where a bed keeps what it has: what was built in the user's cache, what runs in a state folder.

Both are outside the checkout: `make clean` does not cost ten minutes of building, and a path below
the state folder is short enough for a Unix socket.
"""

import os
import stat
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = Path(__file__).parent / "modules"


def cache() -> Path:
    """What was built: binaries, base image, the project's images."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tidegate" / "bed"


def state() -> Path:
    """What runs: a folder for each bed. Of this user alone, for it holds tokens.

    The same for every shell, whatever its TMPDIR says: a slot and its network are the machine's.
    """
    path = Path(f"/tmp/tidegate-bed-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()  # not what a link of somebody else's leads to
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{path} is somebody else's")
    return path
