"""The reply subject of a delivery: misread, a job's deadline would be wrong by years."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tidegate.worker.delivery import Delivery, delivery_of

SUBJECT = "jobs.default.batch.3.acme.job_v5pu6gcb5chlzlsqeaunkhagfq"


@dataclass
class Received:
    reply: str
    subject: str = SUBJECT
    data: bytes = b"{}"
    headers: Mapping[str, str] | None = None


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.JOBS.default-batch.2.17.40.1795455916126302303.5",
        "$JS.ACK._.AXYZ.JOBS.default-batch.2.17.40.1795455916126302303.5.rnd",
        "$JS.ACK.hub.AXYZ.JOBS.default-batch.2.17.40.1795455916126302303.5.rnd.more",
    ],
)
def test_the_time_of_storing_is_read_from_either_form(reply: str) -> None:
    assert delivery_of(Received(reply)) == Delivery(SUBJECT, reply, b"{}", 1795455916126)


@pytest.mark.parametrize("reply", ["", "_INBOX.x", "$JS.ACK.JOBS.c.1", "$JS.ACK.a.b.c.d.e.f.g"])
def test_what_is_no_delivery_is_refused(reply: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        delivery_of(Received(reply))
