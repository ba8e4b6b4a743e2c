"""Who may do what in a bed: one token that may do everything, in a kubeconfig.

The API server makes its own certificate, and the kubeconfig trusts that one alone. A bed is
reached from this machine only, and its folder is its user's only.
"""

import base64
import secrets
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.bed.errors import StartFailed

_NAME: Final = "tidegate-bed"


class Credentials:
    """The files of one bed, below its folder."""

    def __init__(self, folder: Path) -> None:
        self.certificates = folder / "certificates"
        self.certificate = self.certificates / "apiserver.crt"  # the name is the API server's
        self.tokens = folder / "tokens.csv"
        self.accounts_key = folder / "accounts.key"
        self.kubeconfig = folder / "kubeconfig"
        self._token = secrets.token_hex(16)

    def make(self) -> None:
        """What must be there before the API server starts."""
        self.certificates.mkdir(exist_ok=True)
        self.tokens.write_text(f"{self._token},admin,admin,system:masters\n", encoding="utf-8")
        # The service accounts' tokens: signed and checked by the same private key.
        key = ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.accounts_key)
        done = subprocess.run(["openssl", *key], capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartFailed(f"openssl made no key: {done.stderr.strip()}")

    def write_kubeconfig(self, url: str) -> None:
        """Once the API server has its certificate."""
        content = kubeconfig(url, self.certificate.read_bytes(), self._token)
        self.kubeconfig.write_bytes(msgspec.json.encode(content))
        self.kubeconfig.chmod(0o600)


def kubeconfig(url: str, authority: bytes, token: str) -> dict[str, Any]:
    """For kubectl and its like; JSON is YAML to them."""
    trusted = base64.b64encode(authority).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": _NAME, "cluster": {"server": url, "certificate-authority-data": trusted}}
        ],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": "admin"}}],
        "current-context": _NAME,
    }
