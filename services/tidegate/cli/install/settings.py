"""What a pod knows of the cluster that it runs in."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class PodSettings(BaseSettings):
    """Where the API server is, and who we are to it: what the kubelet gives every pod.

    The names are Kubernetes' own (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)

    kubernetes_service_host: str = Field(
        ..., description="Host of the API server. The kubelet sets it in every pod."
    )
    kubernetes_service_port: int = Field(443, description="Its port.")
    service_account_directory: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        description="Where the pod's token, its namespace and the API server's certificate are.",
    )

    @property
    def url(self) -> str:
        """Base URL of the API server."""
        host = self.kubernetes_service_host
        return f"https://{f'[{host}]' if ':' in host else host}:{self.kubernetes_service_port}"

    def read(self, name: str) -> str:
        """A file of the service account: `token`, `namespace`. Raises OSError."""
        return (self.service_account_directory / name).read_text(encoding="utf-8").strip()
