"""Arguments that name jobs: what is none is refused before anything is asked or removed."""

import pytest
from click.testing import CliRunner

from tidegate.cli.main import main


@pytest.mark.parametrize(
    "command",
    [
        ["jobs", "get"],
        ["jobs", "cancel"],
        ["jobs", "watch"],
        ["dlq", "show"],
        ["dlq", "replay"],
        ["dlq", "purge", "--yes"],
    ],
)
@pytest.mark.parametrize("given", ["", ".", "../dead-letters", "job_1", "job_" + "A" * 26])
def test_what_is_no_job_id_reaches_nobody(command: list[str], given: str) -> None:
    """In a path, `../dead-letters` would be every letter of the tenant."""
    result = CliRunner().invoke(main, [*command, given])
    assert result.exit_code == 2
    assert "is not the id of a job" in result.output
