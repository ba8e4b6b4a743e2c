"""The id of a job as an argument of a command."""

from typing import Final

import click
from typing_extensions import override


class _JobId(click.ParamType[str]):
    """Ids stand in paths: whatever else is given may mean another thing there, or all of them."""

    name = "job_id"

    @override
    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from tidegate.contracts.subjects import is_job_id

        if not is_job_id(value):
            self.fail(f"{value!r} is not the id of a job (job_ and 26 characters)", param, ctx)
        return value


JOB_ID: Final = _JobId()
