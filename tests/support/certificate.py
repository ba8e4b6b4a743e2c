"""A certificate for 127.0.0.1 that vouches for itself, made by openssl."""

import subprocess
from pathlib import Path
from typing import Final

_ASKED: Final = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
_NAMES: Final = ("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1")


def certify(key: Path, certificate: Path) -> None:
    """Writes both files; who trusts the certificate trusts whoever has the key."""
    files = ("-keyout", str(key), "-out", str(certificate))
    command = ["openssl", *_ASKED, *_NAMES, "-days", "1", "-nodes", *files]
    subprocess.run(command, check=True, capture_output=True)
