"""`tidegate settings`: every setting, as a page of Markdown. docs/settings.md is its output."""

from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from tidegate.cli.known_settings import SERVICES

_HEAD = """\
# Settings

Environment variables, read once at start; this page is what `tidegate settings` prints. A service
reports a variable with our prefix that nobody reads. `tidegate up` sets addresses, NATS users and
files by itself.
"""


def settings_page() -> str:
    """The page: one table for each service, a setting of several in each."""
    tables = ["\n".join(_table(name, kind)) for name, kind in SERVICES.items()]
    return _HEAD + "\n" + "\n\n".join(tables) + "\n"


def _table(service: str, kind: type[BaseSettings]) -> Iterator[str]:
    yield f"## {service}\n"
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    prefix = kind.model_config.get("env_prefix", "")
    for name, field in sorted(kind.model_fields.items()):
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{(prefix + name).upper()}` | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is PydanticUndefined:
        return "needed"
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`"
