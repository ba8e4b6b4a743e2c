"""What an operator of the platform would look for in vain."""

from pathlib import Path

from tidegate.cli.known_settings import SERVICES
from tidegate.cli.settings_page import settings_page

_PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_is_what_the_command_prints() -> None:
    assert _PAGE.read_text(encoding="utf-8") == settings_page(), (
        "run: tidegate settings > docs/settings.md"
    )


def test_every_setting_says_what_it_means() -> None:
    for kind in SERVICES.values():
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"
