"""What bench/retained.py has stored, and whether it is all there: its own subjects alone."""

from typing import Any

from bench._retained_fill import QUEUE, TENANTS
from tests.support.log_world import LogPeer
from tests.support.services import TENANT
from tidegate.contracts.subjects import EVENTS_STREAM, JOBS_STREAM, SHARDS

Kept = dict[str, int]


async def count_kept(peer: LogPeer) -> Kept:
    """How many messages the filler's subjects have, by tenant and what they are."""
    kept: Kept = {}
    for tenant in TENANTS:
        logs = [f"events.{shard}.{tenant}.*" for shard in range(SHARDS)]
        kept[f"sealed logs of {tenant}"] = sum(
            [await _messages(peer, EVENTS_STREAM, subject) for subject in logs]
        )
    for tenant in (*TENANTS, TENANT):
        subject = f"jobs.{QUEUE}.*.*.{tenant}.*"
        kept[f"queued jobs of {tenant}"] = await _messages(peer, JOBS_STREAM, subject)
    return kept


async def _messages(peer: LogPeer, stream: str, subject: str) -> int:
    """Of all subjects that match, which the server lists in parts."""
    found: dict[str, int] = {}
    while True:
        body: dict[str, Any] = {"subjects_filter": subject, "offset": len(found)}
        info = await peer.jetstream.api(f"STREAM.INFO.{stream}", body)
        part = info["state"].get("subjects") or {}
        found |= part
        if not part or len(found) >= int(info.get("total", 0)):
            return sum(found.values())


async def read_back(peer: LogPeer, sample: dict[str, bytes]) -> list[str]:
    """The subjects of the sample that do not hold what was stored there."""
    wrong = []
    for subject, payload in sample.items():
        stored = await peer.jetstream.direct_last(EVENTS_STREAM, subject)
        if stored is None or stored.payload != payload:
            wrong.append(subject)
    return wrong
