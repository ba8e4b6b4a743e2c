"""`tidegate jobs get|list|cancel`."""

from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from tidegate.cli.client import Platform, run_client

_PAGE = 200


def run_get(job_id: str) -> int:
    """Prints a job as JSON."""

    async def get(platform: Platform) -> int:
        job = await platform.call("GET", f"/v1/jobs/{job_id}")
        click.echo(msgspec.json.format(msgspec.json.encode(job)).decode())
        return 0

    return run_client(get)


def run_list(limit: int) -> int:
    """Prints a line for each job."""

    async def listing(platform: Platform) -> int:
        left, token, head = limit, "", f"{'JOB':32} {'STATE':10} {'CLASS':12} {'MODEL':24} CREATED"
        while left > 0:
            params = {"page_size": str(min(left, _PAGE)), "page_token": token}
            page = await platform.call("GET", "/v1/jobs", params=params)
            if head:
                click.echo(head)
                head = ""
            for job in page["jobs"]:
                click.echo(_row(job))
            left -= len(page["jobs"])
            token = page["next_page_token"]
            if not token:
                return 0
        click.echo(f"the oldest {limit}; there are more: --limit", err=True)
        return 0

    return run_client(listing)


def run_cancel(job_id: str) -> int:
    """Asks for a job's end and prints where it stands."""

    async def cancel(platform: Platform) -> int:
        job = await platform.call("POST", f"/v1/jobs/{job_id}/cancel")
        click.echo(f"job={job['id']} state={job['state']}", err=True)
        return 0

    return run_client(cancel)


def _row(job: dict[str, Any]) -> str:
    created = datetime.fromtimestamp(job["created_at"], UTC).isoformat(timespec="seconds")
    return f"{job['id']:32} {job['state']:10} {job['class']:12} {job['model']:24} {created}"
